"""Building an AvaMERG from a text corpus (paper §3.2): annotation, rebalancing, recording sheets, cross-check, assembly.

corpus of dialogues with emotions (EmpatheticDialogues or like it)
  │  annotate     profiles, topic and Chain of Empathy by a language model     journal.jsonl, draft.json
  │  rebalance    new dialogues for rare profiles                              corpus.json, to annotate like the rest
  │  crosscheck   three people check the text, unanimously                     forms → results → accepted.json
  │  sheets       what each volunteer records, with which emotion              sheets/*.html, *.csv
  │  (recording)
  │  crosscheck   three people check speech and faces, unanimously
  ▼  assemble     the released layout, with provenance
"""
