"""Prompts through the three encoders of Stable Diffusion 3 are what its own pipeline makes of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainables.data.encode_text import load_text_encoder

WORDS = ("a", "b", "c")
PROMPTS = ["a b", "c", "", "b b a a c"]


def clip(folder: Path, width: int, projection: int, seed: int) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    ids = {word: index for index, word in enumerate(("<|startoftext|>", "<|endoftext|>", *(f"{w}</w>" for w in WORDS)))}
    (folder / "words").mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=6).save_pretrained(
        folder / "words"
    )
    config = CLIPTextConfig(
        vocab_size=5, hidden_size=width, intermediate_size=8, projection_dim=projection, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=6, eos_token_id=1, bos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        CLIPTextModelWithProjection(config).save_pretrained(folder / "model")


def t5(folder: Path, width: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    ids = {word: index for index, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>").save_pretrained(
        folder / "words"
    )
    config = T5Config(vocab_size=6, d_model=width, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        T5EncoderModel(config).save_pretrained(folder / "model")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("encoders")
    clip(root / "1", 8, 7, 1)
    clip(root / "2", 12, 5, 2)
    t5(root / "3", 24)
    return root


def settings(root: Path, *numbers: int) -> dict[str, Any]:
    found = {key: [str(root / str(number) / name) for number in numbers]
             for key, name in (("text_encoder", "model"), ("tokenizer", "words"))}  # fmt: skip
    return {**found, "device": "cpu"}


def test_three_encoders_are_joined_as_the_pipeline_joins_them(encoders: Path) -> None:
    import diffusers
    from transformers import AutoTokenizer, CLIPTextModelWithProjection, T5EncoderModel

    encode = load_text_encoder(settings(encoders, 1, 2, 3))
    assert encode is not None
    found = encode(PROMPTS)
    parts: dict[str, Any] = {"transformer": None, "scheduler": None, "vae": None}
    for number, suffix in ((1, ""), (2, "_2"), (3, "_3")):
        model_class = T5EncoderModel if number == 3 else CLIPTextModelWithProjection
        parts[f"text_encoder{suffix}"] = model_class.from_pretrained(encoders / str(number) / "model")
        parts[f"tokenizer{suffix}"] = AutoTokenizer.from_pretrained(encoders / str(number) / "words")
    pipeline = diffusers.StableDiffusion3Pipeline(**parts)
    with torch.no_grad():
        text, _, pooled, _ = pipeline.encode_prompt(
            PROMPTS, None, None, do_classifier_free_guidance=False, device="cpu"
        )
    assert found["encoder_hidden_states"].shape == (4, 6 + 256, 24)
    assert found["pooled_projections"].shape == (4, 7 + 5)
    torch.testing.assert_close(found["encoder_hidden_states"].float(), text, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found["pooled_projections"], pooled, rtol=1e-5, atol=1e-6)
    assert text.std() > 0.1


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 2), "^text_encoder must be a path, or three of them: CLIP, CLIP and T5, .* but got 2"),
        ((3, 1, 2), "^text_encoder must be a path, or three of them: CLIP, CLIP and T5, .* both with projection"),
        ((4,), "^text_encoder must be a transformers directory but got .*4/model"),
    ],
)
def test_other_encoders_are_refused(numbers: tuple[int, ...], message: str, encoders: Path) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        load_text_encoder(settings(encoders, *numbers))
    assert "\n" not in str(refused.value)


def test_each_encoder_has_a_tokenizer(encoders: Path) -> None:
    raw = {**settings(encoders, 1, 2, 3), "tokenizer": str(encoders / "1" / "words")}
    with pytest.raises(ValueError, match=r"^tokenizer must be of the 3 text_encoder, but got 1"):
        load_text_encoder(raw)
