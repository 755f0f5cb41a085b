"""A run as a release that PyTorch loads, and a release as a run.

Modules: `layout` (the files of a release and what a reader checks), `trained` (a run → a weights folder of kind `empatheia`),
`form_file` (the fixed form of an answer as arrays), `base` (the frozen base in its Hugging Face form, plain or merged, in
shards), `gguf_writer`, `generators` (StyleTTS2 and DreamTalk in their originals' files), `card` (README.md), `export` (all of
it), `import_run` (a release → a run), `hub` (upload). `package/` holds the PyTorch code that goes into every release.
"""
