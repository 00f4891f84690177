"""The network in PyTorch: Voxtral's architecture with the tensor names and shapes of Mistral's own files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mistral_common.audio import mel_filter_bank
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tools.nano.tokenizer import AUDIO, CHUNK_SECONDS, EOS, VOCABULARY_SIZE

PARAMS: dict[str, Any] = {
    "dim": 128,
    "n_layers": 4,
    "head_dim": 32,  # vLLM's attention on a CPU refuses 16
    "hidden_dim": 384,
    "n_heads": 4,
    "n_kv_heads": 2,
    "use_biases": False,
    "causal": True,
    "rope_theta": 10000.0,
    "norm_eps": 1e-5,
    "vocab_size": VOCABULARY_SIZE,
    "max_seq_len": 4096,
    "max_position_embeddings": 4096,
    "tied_embeddings": True,
    "model_parallel": 1,
    "multimodal": {
        "whisper_model_args": {
            "encoder_args": {
                "audio_encoding_args": {
                    "sampling_rate": 16000,
                    "num_mel_bins": 128,
                    "hop_length": 160,
                    "window_size": 400,
                },
                "dim": 128,
                "n_layers": 3,
                "head_dim": 32,
                "hidden_dim": 512,
                "n_heads": 4,
                "n_kv_heads": 4,
                "vocab_size": 51866,
                "max_source_positions": 50 * CHUNK_SECONDS,
                "use_biases": True,
            },
            "downsample_args": {"downsample_factor": 4},
        }
    },
}
Past = tuple[Tensor, Tensor]


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, written out.

    Torch's own kernel for the CPU spends more time on its gradient than everything else takes together.
    """
    with torch.autocast("cpu", enabled=False):
        query = (query * query.shape[-1] ** -0.5).to(value.dtype)
        scores = query @ key.to(value.dtype).transpose(-1, -2)
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        return torch.softmax(scores, -1) @ value


def causal_mask(length: int, total: int) -> Tensor:
    """What to add to the scores so that each of the last positions sees all positions up to itself."""
    return torch.full((length, total), -1e4).triu(total - length + 1)


class EncoderLayer(nn.Module):
    """A layer of the Whisper encoder: attention without a mask, biases except on the keys."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = nn.ModuleDict(
            {name: nn.Linear(dim, dim, bias=name != "wk") for name in ("wq", "wk", "wv", "wo")}
        )
        self.attention_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.ModuleDict({"w1": nn.Linear(dim, hidden), "w2": nn.Linear(hidden, dim)})
        self.ffn_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """[chunks, frames, dim] -> the same shape"""
        batch, length, dim = x.shape
        normed = self.attention_norm(x)
        query, key, value = (
            self.attention[name](normed).view(batch, length, self.heads, dim // self.heads).transpose(1, 2)
            for name in ("wq", "wk", "wv")
        )
        mixed = attend(query, key, value).transpose(1, 2).reshape(batch, length, dim)
        x = x + self.attention["wo"](mixed)
        hidden = functional.gelu(self.feed_forward["w1"](self.ffn_norm(x)))
        return cast(Tensor, x + self.feed_forward["w2"](hidden))


class RMSNorm(nn.Module):
    """Scales each vector to a root mean square of one."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The scaled vectors."""
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions in Mistral's layout: a pair is two neighbours, not two halves."""
    real, imaginary = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((real * cosine - imaginary * sine, real * sine + imaginary * cosine), -1).flatten(-2)


class DecoderLayer(nn.Module):
    """A layer of Mistral's decoder: grouped-query attention and a gated feed-forward net."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        dim, hidden = params["dim"], params["hidden_dim"]
        self.heads, self.key_heads, self.head_dim = (
            params["n_heads"],
            params["n_kv_heads"],
            params["head_dim"],
        )
        queries, keys = self.heads * self.head_dim, self.key_heads * self.head_dim
        sizes = {"wq": (dim, queries), "wk": (dim, keys), "wv": (dim, keys), "wo": (queries, dim)}
        self.attention = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})
        self.attention_norm = RMSNorm(dim, params["norm_eps"])
        sizes = {"w1": (dim, hidden), "w2": (hidden, dim), "w3": (dim, hidden)}
        self.feed_forward = nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})
        self.ffn_norm = RMSNorm(dim, params["norm_eps"])

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """The layer's output and its keys and values; with a past, positions attend to all of it as well."""
        batch, length, _ = x.shape
        normed = self.attention_norm(x)
        query, key, value = (
            self.attention[name](normed).view(batch, length, count, self.head_dim).transpose(1, 2)
            for name, count in (("wq", self.heads), ("wk", self.key_heads), ("wv", self.key_heads))
        )
        query, key = rotate(query, cosine, sine), rotate(key, cosine, sine)
        if past is not None:
            key = torch.cat((past[0].expand(batch, -1, -1, -1), key), 2)
            value = torch.cat((past[1].expand(batch, -1, -1, -1), value), 2)
        mask = causal_mask(length, key.shape[2]) if length > 1 else None
        group = self.heads // self.key_heads
        mixed = attend(query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1), mask)
        x = x + self.attention["wo"](mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_dim))
        normed, net = self.ffn_norm(x), self.feed_forward
        return x + net["w2"](functional.silu(net["w1"](normed)) * net["w3"](normed)), (key, value)


def sinusoids(length: int, dim: int) -> Tensor:
    """Whisper's positions."""
    angles = torch.arange(length)[:, None] * sinusoid_rates(dim)[None]
    return torch.cat((angles.sin(), angles.cos()), 1)


def sinusoid_rates(dim: int) -> Tensor:
    """The angle each pair of position channels advances by per frame."""
    return torch.exp(-math.log(10000) / (dim // 2 - 1) * torch.arange(dim // 2))


class Transformer(nn.Module):
    """The layers of the encoder."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        layers = [EncoderLayer(args["dim"], args["n_heads"], args["hidden_dim"]) for _ in range(args["n_layers"])]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(args["dim"])

    def forward(self, x: Tensor) -> Tensor:
        """[chunks, frames, dim] -> the same shape"""
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.norm(x))


class Encoder(nn.Module):
    """The Whisper encoder."""

    positions: Tensor

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        dim, bins = args["dim"], args["audio_encoding_args"]["num_mel_bins"]
        self.conv_layers = nn.ModuleList(
            [nn.Conv1d(bins, dim, 3, padding=1), nn.Conv1d(dim, dim, 3, stride=2, padding=1)]
        )
        self.transformer = Transformer(args)
        self.register_buffer("positions", sinusoids(args["max_source_positions"], dim), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        """[chunks, bins, frames] -> [chunks, frames / 2, dim]"""
        x = mel
        for layer in self.conv_layers:
            x = functional.gelu(layer(x))
        x = x.transpose(1, 2)
        return cast(Tensor, self.transformer((x + self.positions[: x.shape[1]]).to(x.dtype)))


class Embeddings(nn.Module):
    """Everything that turns audio and tokens into vectors of the decoder."""

    def __init__(self, params: dict[str, Any], encoder: dict[str, Any], factor: int) -> None:
        super().__init__()
        dim = params["dim"]
        self.whisper_encoder = Encoder(encoder)
        self.audio_language_projection = nn.Sequential(
            nn.Linear(encoder["dim"] * factor, dim, bias=False), nn.GELU(), nn.Linear(dim, dim, bias=False)
        )
        self.tok_embeddings = nn.Embedding(params["vocab_size"], dim)


class Voxtral(nn.Module):
    """Audio encoder, adapter and language model."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        audio = params["multimodal"]["whisper_model_args"]
        self.params = params
        self.encoder_args = audio["encoder_args"]
        self.factor = audio["downsample_args"]["downsample_factor"]
        self.mm_whisper_embeddings = Embeddings(params, self.encoder_args, self.factor)
        self.layers = nn.ModuleList([DecoderLayer(params) for _ in range(params["n_layers"])])
        self.norm = RMSNorm(params["dim"], params["norm_eps"])

    def encode(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """[chunks, bins, frames] -> the adapter's output at 12.5 Hz and the encoder's at 50 Hz."""
        encoded = self.mm_whisper_embeddings.whisper_encoder(mel.to(self.norm.weight.dtype))
        chunks, length, dim = encoded.shape
        stacked = encoded.reshape(chunks, length // self.factor, dim * self.factor)
        return self.mm_whisper_embeddings.audio_language_projection(stacked), encoded

    def embed(self, tokens: Tensor, audio: Tensor | None = None) -> Tensor:
        """Token embeddings; audio frames [n, dim] take the place of the audio tokens, in order."""
        x: Tensor = self.mm_whisper_embeddings.tok_embeddings(tokens)
        if audio is None:
            return x
        x = x.clone()
        x[tokens == AUDIO] = audio.to(x.dtype)
        return x

    def decode(self, x: Tensor, past: Sequence[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """Hidden states after the embedded tokens, and each layer's keys and values."""
        head_dim, start = self.params["head_dim"], 0 if past is None else past[0][0].shape[2]
        rates = self.params["rope_theta"] ** (-torch.arange(0, head_dim, 2).float() / head_dim)
        angles = torch.arange(start, start + x.shape[1]).float()[:, None] * rates
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        kept = []
        for index, layer in enumerate(self.layers):
            x, states = layer(x, cosine, sine, None if past is None else past[index])
            kept.append(states)
        return self.norm(x), kept

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token; the output weights are the embeddings."""
        return hidden @ self.mm_whisper_embeddings.tok_embeddings.weight.T

    @torch.no_grad()
    def generate(self, tokens: Sequence[int], mel: Tensor, limit: int = 120) -> list[int]:
        """Greedy answer to a prompt; the spectrogram covers whole chunks."""
        chunks = torch.stack(torch.split(mel, 2 * self.encoder_args["max_source_positions"], -1))
        audio = self.encode(chunks)[0].flatten(0, 1)
        hidden, past = self.decode(self.embed(torch.tensor([list(tokens)]), audio))
        answer: list[int] = []
        while len(answer) < limit:
            token = int(self.logits(hidden[:, -1]).argmax())
            if token == EOS:
                break
            answer.append(token)
            hidden, past = self.decode(self.embed(torch.tensor([[token]])), past)
        return answer


class MelSpectrogram:
    """The log-mel spectrogram as vLLM computes it, roundings included."""

    def __init__(self) -> None:
        args = PARAMS["multimodal"]["whisper_model_args"]["encoder_args"]["audio_encoding_args"]
        self._size, self._hop = args["window_size"], args["hop_length"]
        self._window = torch.hann_window(self._size)
        bank = mel_filter_bank(
            num_frequency_bins=1 + self._size // 2,
            num_mel_bins=args["num_mel_bins"],
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=args["sampling_rate"],
        )
        self._filters = torch.tensor(bank, dtype=torch.float32).T.contiguous()

    @torch.no_grad()
    def __call__(self, audio: NDArray[np.float32]) -> Tensor:
        """A waveform of whole chunks -> [bins, frames]; the floor follows the loudest moment of all of it."""
        wave = torch.from_numpy(audio).to(torch.bfloat16).float()
        spectrum = torch.stft(wave, self._size, self._hop, window=self._window, return_complex=True)
        power = spectrum[..., :-1].abs() ** 2
        levels = (self._filters @ power).clamp(min=1e-10).log10()
        return ((torch.maximum(levels, levels.max() - 8.0) + 4) / 4).to(torch.bfloat16).float()


@torch.no_grad()
def initialise(model: Voxtral) -> None:
    """Start the encoder as a local model: each head looks a fixed number of frames ahead or back.

    Position t + d is a rotation of the sinusoids of position t, so a query and a key matrix can express it.
    Without this start the encoder needs far longer to find out that speech is local.
    """
    model.mm_whisper_embeddings.tok_embeddings.weight.normal_(0, 0.05)
    encoder = model.mm_whisper_embeddings.whisper_encoder
    for convolution, gain in zip(encoder.conv_layers, (1.5, 2.0), strict=True):
        cast(nn.Conv1d, convolution).weight.mul_(gain)
    dim, pairs, gain = model.encoder_args["dim"], 16, 1.5
    rates, index = sinusoid_rates(dim)[:pairs], torch.arange(pairs)
    offsets = ((-4.0, -1.5, 1.5, 4.0), (-9.0, -4.0, 4.0, 9.0), (-18.0, -8.0, 8.0, 18.0))
    for layer, shifts in zip(encoder.transformer.layers, offsets, strict=True):
        attention = cast(EncoderLayer, layer).attention
        size = dim // len(shifts)
        for head, shift in enumerate(shifts):
            query, key = torch.zeros(size, dim), torch.zeros(size, dim)
            cosine, sine = gain * torch.cos(rates * shift), gain * torch.sin(rates * shift)
            key[index, index] = gain
            key[pairs + index, dim // 2 + index] = gain
            query[index, index] = cosine
            query[index, dim // 2 + index] = sine
            query[pairs + index, dim // 2 + index] = cosine
            query[pairs + index, index] = -sine
            rows = slice(head * size, (head + 1) * size)
            for name, wanted in (("wq", query), ("wk", key)):
                cast(nn.Linear, attention[name]).weight[rows].mul_(0.5).add_(wanted)


def export(model: Voxtral, folder: Path) -> None:
    """Write the weights and params.json as vLLM reads them."""
    weights = folder / "consolidated.safetensors"
    save_file({name: value.to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()}, weights)
    weights.chmod(0o644)  # save_file leaves 0600, and a server runs as another user
    (folder / "params.json").write_text(json.dumps(model.params, indent=1) + "\n")


def load(folder: Path) -> Voxtral:
    """A model read back from its files."""
    model = Voxtral(json.loads((folder / "params.json").read_text()))
    model.load_state_dict(load_file(folder / "consolidated.safetensors"))
    return model.eval()
