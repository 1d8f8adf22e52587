"""Facts of the machine that sysfs and netlink tell, below any root. No opinion about them."""
