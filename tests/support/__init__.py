"""What tests share: stand-ins, inputs whose truth is known, servers, and datasets in known states."""
