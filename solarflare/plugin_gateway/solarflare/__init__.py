"""The backend for Onload on Solarflare network cards."""
