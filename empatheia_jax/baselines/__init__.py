"""The text baselines of the paper's Table 2, written anew: KEMP (Li et al., AAAI 2022), CEM (Sabour et al., AAAI 2022) and CASE
(Zhou et al., ACL 2023). Word-level encoder-decoder Transformers that also classify the speaker's emotion.

Modules: `words` (how a dialogue becomes words and numbers), `vectors` (what the embedding begins with), `knowledge` (COMET,
ConceptNet and VAD from a user's files), `batch` and `encoding` (a turn as arrays), `layers`, `losses`, `kemp`, `cem`, `case`
(the networks), `decoding`, `settings`, `networks` (by name) and `replies` (a folder of replies). They are trained by
`training.text_baselines`.

Sources of the equations and numbers: github.com/qtli/KEMP, github.com/Sahandfer/CEM, github.com/jfzhouyoo/CASE. Padding takes no
part in anything here; in the originals it does, wherever a batch holds dialogues of different lengths. What else differs is
listed in docs/baselines.md.
"""
