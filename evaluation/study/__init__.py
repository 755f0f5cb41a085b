"""A study with people, without a server: rating pages, collected answers, sample sizes."""
