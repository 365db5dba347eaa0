"""What shards do in moves: a source that tells and is fenced, a follower that takes, both compared, and cleared."""
