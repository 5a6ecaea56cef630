"""What a backup needs of the database, and what a restored one needs before anybody uses it."""
