module shoal/load/peers

go 1.21
