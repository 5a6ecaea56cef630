"""When and with what a picture was taken, from its metadata."""
