"""`plugin-gateway doctor`: what is wrong on this node, one cause at a time, each with what to do."""
