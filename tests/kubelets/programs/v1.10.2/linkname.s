// Go takes a function without a body, as main.go has one by go:linkname, only beside an assembly file.
