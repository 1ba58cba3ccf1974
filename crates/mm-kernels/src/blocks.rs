//! What blocks are given and give back: weights by name, keys and values.

use burn::prelude::*;

/// The weights of a linear map `y = x W + b`.
#[derive(Debug, Clone)]
pub struct LinearWeights {
    /// `[inputs, outputs]`
    pub weight: Tensor<2>,
    /// `[outputs]`
    pub bias: Option<Tensor<1>>,
}

/// The scale and offset `γ z + β` that make queries or keys out of a shared projection.
#[derive(Debug, Clone)]
pub struct ScaleOffset {
    /// `[channels]`
    pub gamma: Tensor<1>,
    /// `[channels]`
    pub beta: Option<Tensor<1>>,
}

/// The weights of a gated attention unit; either all four maps have biases or none has.
#[derive(Debug, Clone)]
pub struct GauWeights {
    /// The scale of the norm, `[width]`.
    pub norm: Tensor<1>,
    /// The map to gate, values and the shared projection, `[width, 2 expanded + key_size]`.
    pub in_proj: LinearWeights,
    /// What makes queries of the shared projection, `[key_size]`.
    pub query: ScaleOffset,
    /// What makes keys of the shared projection, `[key_size]`.
    pub key: ScaleOffset,
    /// The map back, `[expanded, width]`.
    pub out_proj: LinearWeights,
    /// The number added to the mean square in the norm.
    pub epsilon: f64,
}

impl GauWeights {
    /// Returns the channels of the gate, which are those of the values.
    pub fn expanded(&self) -> usize {
        self.out_proj.weight.dims()[0]
    }

    /// Returns the channels of queries and keys.
    pub fn key_size(&self) -> usize {
        self.query.gamma.dims()[0]
    }
}

/// The weights of a multi-head block, whose sizes follow from their shapes.
#[derive(Debug, Clone)]
pub struct MultiHeadWeights {
    /// The scale of the norm before attention, `[width]`.
    pub attention_norm: Tensor<1>,
    /// The map to queries, keys and values, `[width, (heads + 2 key_heads) head_size]`.
    pub qkv_proj: Tensor<2>,
    /// The scale of the norm of every query, `[head_size]`.
    pub query_norm: Tensor<1>,
    /// The scale of the norm of every key, `[head_size]`.
    pub key_norm: Tensor<1>,
    /// The map that closes attention, `[width, width]`.
    pub out_proj: Tensor<2>,
    /// The scale of the norm before the feed-forward half, `[width]`.
    pub mlp_norm: Tensor<1>,
    /// The map to gate and values of SwiGLU, `[width, 2 feed_forward]`, or without a gate,
    /// `[width, feed_forward]`, of a feed-forward half that squares a ReLU.
    pub gate_up_proj: Tensor<2>,
    /// The map that closes the feed-forward half, `[feed_forward, width]`.
    pub down_proj: Tensor<2>,
    /// The number added to the mean square in all norms.
    pub epsilon: f64,
    /// How a condition changes the two halves, in a DiT block.
    pub modulation: Option<BlockModulation>,
    /// What is added behind every norm and every map; with it, norms are LayerNorms.
    pub biases: Option<MultiHeadBiases>,
}

/// The biases of a multi-head block whose norms are LayerNorms (Ba, Kiros & Hinton 2016,
/// arXiv:1607.06450), those of queries and keys too.
#[derive(Debug, Clone)]
pub struct MultiHeadBiases {
    /// The offset of the norm before attention, `[width]`.
    pub attention_norm: Tensor<1>,
    /// The bias of the map to queries, keys and values, `[(heads + 2 key_heads) head_size]`.
    pub qkv_proj: Tensor<1>,
    /// The offset of the norm of every query, `[head_size]`.
    pub query_norm: Tensor<1>,
    /// The offset of the norm of every key, `[head_size]`.
    pub key_norm: Tensor<1>,
    /// The bias of the map that closes attention, `[width]`.
    pub out_proj: Tensor<1>,
    /// The offset of the norm before the feed-forward half, `[width]`.
    pub mlp_norm: Tensor<1>,
    /// The bias of the map into the feed-forward half, `[2 feed_forward]` or `[feed_forward]`.
    pub gate_up_proj: Tensor<1>,
    /// The bias of the map that closes the feed-forward half, `[width]`.
    pub down_proj: Tensor<1>,
}

impl MultiHeadWeights {
    /// Returns the channels of one head.
    pub fn head_size(&self) -> usize {
        self.query_norm.dims()[0]
    }

    /// Returns the number of query heads.
    pub fn heads(&self) -> usize {
        self.out_proj.dims()[0] / self.head_size()
    }

    /// Returns the number of key heads, which is that of value heads.
    pub fn key_heads(&self) -> usize {
        (self.qkv_proj.dims()[1] / self.head_size() - self.heads()) / 2
    }

    /// Returns the inner channels of the feed-forward half.
    pub fn feed_forward(&self) -> usize {
        self.down_proj.dims()[0]
    }

    /// Says whether the feed-forward half has a gate.
    pub fn is_gated(&self) -> bool {
        self.gate_up_proj.dims()[1] != self.feed_forward()
    }
}

/// How a condition changes a block (adaLN-Zero, Peebles & Xie 2022, arXiv:2212.09748, section 3.2).
#[derive(Debug, Clone)]
pub struct BlockModulation {
    /// The modulation of the half that attends.
    pub attention: BranchModulation,
    /// The modulation of the feed-forward half.
    pub mlp: BranchModulation,
}

/// How a condition changes one branch: `x + gate ⊙ f((1 + scale) ⊙ norm(x) + shift)`; every tensor
/// is `[batch, tokens, channels]`, or `[1, 1, channels]` where all tokens share it.
#[derive(Debug, Clone)]
pub struct BranchModulation {
    /// What is added to the normalised tokens.
    pub shift: Tensor<3>,
    /// What multiplies the normalised tokens, less one.
    pub scale: Tensor<3>,
    /// What multiplies the branch's output.
    pub gate: Tensor<3>,
}

/// Computes `(1 + scale) ⊙ x + shift` of `[batch, tokens, channels]`.
pub fn modulate(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>) -> Tensor<3> {
    x * (scale + 1.0) + shift
}

/// The rotated keys and the values of some tokens in one block.
#[derive(Debug, Clone)]
pub struct KeyValue {
    /// `[batch, key_heads, tokens, channels]`
    pub keys: Tensor<4>,
    /// `[batch, key_heads, tokens, values]`
    pub values: Tensor<4>,
}

impl KeyValue {
    /// Returns the number of tokens.
    pub fn tokens(&self) -> usize {
        self.keys.dims()[2]
    }

    /// Returns these tokens behind those of `prefix`, along the token axis.
    pub fn after(&self, prefix: Option<&KeyValue>) -> KeyValue {
        let join =
            |old: &Tensor<4>, new: &Tensor<4>| Tensor::cat(vec![old.clone(), new.clone()], 2);
        match prefix {
            Some(prefix) => Self {
                keys: join(&prefix.keys, &self.keys),
                values: join(&prefix.values, &self.values),
            },
            None => self.clone(),
        }
    }
}

/// What becomes of the keys and values of tokens that follow a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvUpdate {
    /// They are returned, to become part of the prefix.
    Keep,
    /// They are dropped: the tokens are noisy patches, which the next denoising step replaces.
    Discard,
}
