"""File formats of weights: readers, all with the interface of `source.Source`, and writers."""
