"""What two or more services need, one topic per module. Nothing here imports a service."""
