"""The messages of lazynorm.v1, made from the .proto files when the package is built."""
