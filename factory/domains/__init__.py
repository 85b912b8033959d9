"""The domains: what differs between eyes and hands, each in a folder of its own."""
