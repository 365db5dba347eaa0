"""Between protobuf messages and our values, and between errors and gRPC status."""
