"""The small DreamTalk of our own: a drawn face that speaks and feels, trained on pictures and sounds made from seeds.

    python -m empatheia_jax.training.drawn_face.train --folder=runs/drawn_face --network=renderer --minutes=90
    python -m empatheia_jax.training.drawn_face.train --folder=runs/drawn_face --network=denoiser --minutes=20

Log-mel features (80 bands, 50 rows per second) stand in for wav2vec2, and both networks are narrow.
"""

from ml_collections import ConfigDict

from empatheia_jax.dreamtalk.drawn_face.layout import EXPRESSION, LOWER_INDICES, MOTION, SIZE, UPPER_INDICES


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.average = 0.99  # of the weights; the average is what is shipped

    config.renderer = ConfigDict(
        dict(
            coefficient_dim=MOTION,
            descriptor_dim=64,
            mapping_layers=3,
            image_size=SIZE,
            image_channels=3,
            max_channels=64,
            warp_base_channels=8,
            warp_encoder_layers=4,
            warp_decoder_layers=3,
            edit_base_channels=12,
            edit_layers=3,
            edit_residual_blocks=1,
            adain_hidden=64,
            leaky_relu_slope=0.1,
            norm_eps=1e-5,
            window_radius=13,
            unused_residual_convs=False,
        )
    )
    config.flow_steps = 1500  # of the warping network alone, on true flows
    config.flow_batch = 8
    config.flow_rate = 4e-3
    config.renderer_steps = 14_000  # of all of it, on drawn frames
    config.trust = 0.7  # share of examples that are warped by the predicted flow, not the true one
    config.renderer_batch = 4
    config.renderer_rate = 2e-3
    config.shards = 14
    config.people_per_shard = 40
    config.frames_per_person = 6

    config.denoiser = ConfigDict(
        dict(
            d_model=64,
            num_heads=4,
            feedforward_dim=128,
            content_encoder_layers=1,
            style_encoder_layers=1,
            decoder_layers=1,
            audio_feature_dim=80,
            audio_rows_per_frame=2,
            window_radius=5,
            face3d_dim=EXPRESSION,
            style_max_len=100,
            style_pooling="self_attention_pooling",
            upper_face_indices=UPPER_INDICES,
            lower_face_indices=LOWER_INDICES,
            dropout=0.0,
            layer_norm_eps=1e-5,
            dynamic_experts=None,
            dynamic_ratio=None,
            dynamic_temperature=None,
            diffusion_steps=1000,
            beta_first=1e-4,
            beta_last=0.02,
        )
    )
    config.denoiser_steps = 1500
    config.denoiser_batch = 16
    config.denoiser_frames = 16
    config.denoiser_rate = 3e-3
    config.denoiser_clips = 400
    config.null_style = 0.1
    return config
