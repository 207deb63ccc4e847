"""Where the time of one request goes, hop by hop."""
