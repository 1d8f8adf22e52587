module node

go 1.26
