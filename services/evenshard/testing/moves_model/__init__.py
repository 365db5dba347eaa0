"""A cluster in which slots move, in virtual time: real drivers, admin and fences; small shards and gateways."""
