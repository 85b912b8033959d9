"""What tests share: stand-ins, inputs whose truth is known, servers, datasets in known states."""
