"""AvaMERG in every form, from the released layout to typed batches."""
