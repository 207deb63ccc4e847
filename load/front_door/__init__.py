"""Load on the front door: scenarios from files, by ghz over gRPC and by wrk over REST."""
