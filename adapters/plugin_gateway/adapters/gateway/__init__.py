"""From what the backend observed to what each resource advertises."""
