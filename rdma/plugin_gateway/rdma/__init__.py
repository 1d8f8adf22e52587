"""The backend for RDMA devices: HCAs and their virtual functions."""
