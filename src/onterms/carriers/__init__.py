"""The world outside, one room a protocol or provider."""
