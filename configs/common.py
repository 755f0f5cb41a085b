"""Blocks that experiments share. Values are flat and plain; what they mean is said here, once."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def networks() -> ConfigDict:
    """Which networks, by the names of their folders below `weights_dir`; "debug" = tiny, made-up weights."""
    c = ConfigDict()
    c.weights_dir = "weights"
    c.llm = "vicuna-7b-v1.5"
    c.adapter = ""  # weights folder of a converted adapter that the core's LoRA starts from; "" = a fresh one
    c.speech_encoder = "hubert-large-ls960-ft"
    c.video_encoder = "clip-vit-large-patch14-336"
    c.tts = "styletts2-libritts"
    c.talking_head = "dreamtalk"
    c.faces = "faces"  # folder of portraits and style clips; "drawn": the faces that we draw ourselves
    # Folder of reference recordings, <profile id>.wav or default.wav, for weights of StyleTTS2 without a table of voices.
    c.voices = ""
    c.dtype = "bfloat16"  # of the computation and of frozen weights
    c.frozen_int8 = False  # frozen matrices of the core as int8, one scale per output channel
    c.remat = "full"  # what the backward pass recomputes: nothing, dots, full
    c.attention = "auto"  # of the core, see nn.attention: auto, xla, blocked, cudnn, splash
    c.video_layer = -2  # LLaVA's convention: the second-to-last layer of CLIP
    c.video_pooling = "patches"  # "patches": mean of the patches of a frame; "cls": its class token
    c.phonemizer = "auto"  # gruut, espeak, or the first of them that is installed; the targets of C^s depend on it
    return c


def lora() -> ConfigDict:
    """LoRA on the core (numbers of the authors' released baseline)."""
    c = ConfigDict()
    c.rank = 8
    c.alpha = 32.0
    c.dropout = 0.1
    c.targets = "q_proj,k_proj,v_proj,o_proj"
    c.rslora = False
    return c


def bridge() -> ConfigDict:
    """CS and SD: one block = 4 encoder + 4 decoder layers (paper §6.1; NExT-GPT's width)."""
    c = ConfigDict()
    c.width = 512
    c.heads = 4
    c.mlp = 2048
    c.layers = 4
    c.content_latent = 512
    c.style_latent = 256
    c.content_kind = "vae"  # "linear": the ablation without CS
    c.style_kind = "vae"  # "linear": the ablation without SD
    c.sharing = "all"  # Enc_SD, Dec_SD: "all", "modality" or "none"
    c.style_inputs = "own"  # "speech": the literal (3)-(6)
    c.fuse = "linear"  # or "mean"
    c.source_positions = True  # of r^t in CS; False: attention does not see the order of the reply's words
    # What the bridge reads: "tokens": r^t at the reply's tokens, r^s and r^v at the signal tokens; "all": the states of the whole
    # answer for all three, its last data.reply_tokens ones
    c.signal_source = "tokens"
    c.speech_target = (
        "text_encoder"  # "with_bert": its PL-BERT states too, from which durations and pitch are predicted
    )
    c.video_target = "content"  # or "speech": the features before the talking head's content encoder (1024-d)
    return c


def objective() -> ConfigDict:
    """Factors of the losses; see `empatheia_jax.training.stages`."""
    c = ConfigDict()
    c.alpha = 1.0
    c.beta = 1.0
    c.kl_weight = 1e-4  # 0.0 = the letter of the paper
    # How often the tokens of the emotion's label count in L_emp, which else are 2 of about 130; 1.0 = the paper
    c.emotion_weight = 1.0
    c.regression = (
        "mse"  # "l2": Euclidean norms; "sum": the letter of (9) and (10), the squared norm of an example's whole error
    )
    c.without = ""  # losses left out for an ablation: "ccl", "sac", …
    return c


def data() -> ConfigDict:
    """The data set (released AvaMERG layout) and how a dialogue becomes tokens."""
    c = ConfigDict()
    c.path = "data/avamerg"
    c.max_length = 1024  # tokens; the oldest history goes first, the reply is never cut
    c.answer_length = 320  # of which a prompt leaves free for the answer, in training and reply alike
    c.reply_tokens = 128  # longest r^t
    c.phonemes = 384  # longest C^s
    c.frames = 500  # longest C^v: 20 s at 25 fps
    c.utterances = 4  # utterances with media per example, the latest
    c.listener_media = False  # True: the listener's own speech and video in the history are given too
    c.slots = 24  # places per recording in the prompt: a divisor of 24; 1 = one mean feature (reading U2)
    c.instruction = "paper"  # "short", "plain"
    # "own": the checkpoint's chat template; "human_assistant": the released baseline's; "auto": ChatGLM3's own for ChatGLM3,
    # the baseline's for every other core.
    c.chat_template = "auto"
    c.chain_of_empathy = True  # False: the ablation without Chain of Empathy
    c.modalities = "speech,video"  # "" : text only (the ablation without speech and video)
    # Probability that an example of training loses some of its modalities: one, or all. Without it a core that was
    # trained with recordings does not know how to answer text alone.
    c.modality_dropout = 0.3
    c.last_turn_only = False
    c.label_map = "paper"  # 32 -> 7; or one of E3RG's
    # What a listener's face and voice show: "empathic", the answer to the speaker's emotion (concern for anger); "mirror", that
    # emotion, weaker, as the recordings of AvaMERG do.
    c.expression = "empathic"
    c.workers = 2  # processes that read ahead; 0 = threads
    c.buckets = ""  # further row lengths below max_length, for example "384,640"
    c.packing = False  # several dialogues per row: text only (modalities ""), stage coe
    c.persona = True  # the prompt says whose reply is wanted (age, gender, tone)
    c.cache = ""  # feature cache; by default the folder `features` of the data set
    c.quarantine_limit = 0.01  # a larger fraction of unusable examples stops the run
    return c


def stage(steps: int, batch: int, accumulation: int, learning_rate: float) -> ConfigDict:
    """One stage: optimizer steps of `batch` dialogues each, cut into `accumulation` micro-batches."""
    c = ConfigDict()
    c.steps = steps
    c.batch = batch
    c.accumulation = accumulation
    c.learning_rate = learning_rate
    c.warmup = placeholder(int)  # steps of rising rate; None = a tenth of the steps
    c.decay = "linear"
    c.weight_decay = 1e-3
    c.clip = 1.0  # largest norm of the gradient; 0 = no limit
    c.group_rates = ""  # factors on the rate by glob of parameter paths: "core.*=0.2,synchronizer.*=1.5"
    c.ema = 0.0  # decay of a moving average of what trains, 0.999 say; evaluation, later stages and replies then use it
    c.save_every = 500
    c.eval_every = 500  # losses on the split "valid"; 0 = never
    return c


def decoding() -> ConfigDict:
    """How a reply is decoded; temperature 0 = greedy."""
    c = ConfigDict()
    # "fixed": decoding writes the titles of the steps and the closing words itself, the model fills what stands between them;
    # "free": the model writes everything, as in the paper.
    c.form = "fixed"
    c.step_tokens = 48  # fixed form: longest event, cause and goal
    c.response_tokens = 96  # fixed form: longest reply
    c.max_new_tokens = 320  # free form: longest answer
    c.temperature = 0.0
    c.top_k = 0
    c.top_p = 1.0
    c.repetition_penalty = 1.0
    c.no_repeat_ngram = 0
    c.guidance = 1.0  # of the talking head's diffusion
    # How much of C^s, C^v and of S^s, S^v reaches the generators; 0.0 = a pipeline. None = 1.0 where a stage of the run trained
    # them; what nothing trained (without L_ccl, without L_sac) says nothing, and the generator's own encoding takes its place
    c.content_blend = placeholder(float)
    c.style_blend = placeholder(float)
    c.style_clip = ""  # an expression that is always shown: "neutral", or the name of a clip in `networks.faces`
    return c


def base() -> ConfigDict:
    """Everything, at the sizes of the paper."""
    c = ConfigDict()
    c.name = "empatheia"
    # Trained leaves that the training begins from, and that a reply falls back on where the run holds none: "starter", a folder
    # of the same form, or "" for the bare language model.
    c.start = ""
    c.seed = 13
    c.schedule = "coe,content,style,joint"
    c.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    c.networks = networks()
    c.lora = lora()
    c.bridge = bridge()
    c.objective = objective()
    c.data = data()
    # 24,696 dialogues x about 2.3 listener turns: one epoch is about 7,000 steps of 8.
    c.coe = stage(steps=21_000, batch=8, accumulation=1, learning_rate=5e-4)
    c.content = stage(steps=14_000, batch=32, accumulation=4, learning_rate=1e-4)
    c.style = stage(steps=7_000, batch=32, accumulation=4, learning_rate=1e-4)
    c.joint = stage(steps=7_000, batch=8, accumulation=2, learning_rate=1e-4)
    c.decoding = decoding()
    c.log_every = 10
    c.keep_checkpoints = 2
    c.compiler_options = ""  # XLA's, of the training step: "name=value,…"
    c.preflight_price = 0.0  # US dollars per device and hour for --mode=preflight; 0 = an example price of the device
    c.profile_steps = ""  # "100,110": writes a trace of these steps
    return c


def stand_ins(config: ConfigDict) -> dict[str, Any]:
    """Values of our own for `--mode=check` to go on with where those of a config are wrong."""
    if "trains" not in config:
        return base().to_dict()
    from configs import dreamtalk_denoiser, dreamtalk_renderer

    ours = {"denoiser": dreamtalk_denoiser, "renderer": dreamtalk_renderer}
    return ours[config.trains].get_config().to_dict() if config.trains in ours else {}
