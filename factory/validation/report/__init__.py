"""The page that people read: pictures first, numbers beside them."""
