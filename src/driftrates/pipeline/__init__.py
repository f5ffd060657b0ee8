"""What the workflow needs to be configured, planned, resumed and trusted; nothing here computes a result."""
