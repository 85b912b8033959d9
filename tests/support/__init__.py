"""What tests share: stand-ins, inputs whose truth is known, servers, datasets of a certain state."""
