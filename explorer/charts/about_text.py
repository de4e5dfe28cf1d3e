"""The prose of the page About, as HTML: what the numbers mean, their limits, papers and licence.

Ours alone: none of it comes from a model, a corpus or a link.
"""

from __future__ import annotations

MEANING = (
    "A <b>next-token neuron</b> is an MLP neuron whose output weights point at one vocabulary token. "
    "Some attention heads recognise a context in which that token fits, and write the direction that "
    "the neuron reads. This explorer lists such neurons, the texts that excite them, and the heads "
    "that add to their input.",
    "<b>Direct is not causal.</b> A head's contribution is what its output adds to the neuron's "
    "pre-activation at the layer-norm scale that was observed. It is exact as a sum: heads, MLPs, "
    "embedding and bias add up to the pre-activation. It is not what would happen without the head: "
    "later parts react, and the scale moves. An unpublished re-run on GPT-2 small found a "
    "correlation of only 0.107 between direct contributions and the measured effect of removing a "
    "head.",
    "<b>A neuron's token is often not what the model predicts.</b> Congruence says where the neuron "
    "pushes, not what wins. Recomputed from the authors' data for GPT-2 large, the mean "
    "probability of the neuron's token is 0.37 on the truncated prompts, and 32 % of neurons stay "
    "below 0.10. So P(token) and its rank stand beside the prompts.",
    "<b>Active is a rule of thumb.</b> It compares a head with the other heads of the same prompt: "
    "it says which heads stand out there, not that they add much. A head is called studied when it "
    "is active in 25–75 % of the train prompts: only then can context tell the two groups apart.",
    "<b>A score needs its nulls.</b> An explanation is judged by how well it says, of prompts it has "
    "not seen, whether the head is active there. 0.50 is guessing. Beside every score stand the "
    "verdicts of the neuron's other heads, the same verdicts against shuffled activity, and the "
    "scores of neurons drawn at random: words that fit any neuron as well as this one explain "
    "little. In the authors' data random neurons of GPT-2 large reach 0.558.",
    "<b>Removing is a test, with its own limits.</b> The model is run again without the head, and the "
    "layer norms are recomputed. At zero the head may leave what the model never sees; at its mean "
    "it keeps what is common to all prompts. Heads stand in for one another, so all active heads of "
    "a prompt are removed together as well.",
    "<b>Composition is read from weights alone.</b> It says what a head could pass on to a later one, "
    "not that it does so in any text. Single components of heads stand out where whole heads do not.",
)

LIMITS = (
    "Prompts are the texts that excite a neuron most. What the neuron does in the middle of its "
    "range is not shown, and a corpus that lacks a context cannot show it.",
    "Truncated prompts begin with the hidden start token where the text was cut; the model reads "
    "them as if the text began there.",
    "One neuron and one head are explained together. What only a group of heads does shows in the "
    "joint removal, and in no explanation.",
    "The contrast explainer knows words and pairs of words and where they stand, and nothing of what "
    "they mean. Where about twenty prompts give no support it claims nothing.",
    "Congruence is a raw dot product: it ranks neurons within one model and says nothing between "
    "models.",
    "Token texts that are no whole character read <code>&lt;0xE2&gt;</code>. Spaces are shown as "
    "␣, line ends as ↵, tabs as ⇥.",
)

PAPERS = (
    "The method follows Neo, Cohen and Barez (2024), “Interpreting Context Look-ups in Transformers: "
    "Investigating Attention-MLP Interactions”, arXiv 2402.15055. Theirs: congruence, the choice of "
    "neurons and heads, the active rule, prompts cut while 80 % of the activation remains.",
    "Ours, and not the paper's: contributions divided by the layer norm's scale so that all parts "
    "add up exactly; the shortest ending found by trying every length; the hidden start token at "
    "every stage; P(token) and its rank beside every prompt; the contrast explainer, the nulls and "
    "intervals of scores, the removals in four kinds and together, and the rule behind “switches on”.",
    "Composition of heads and of their singular components follows Merullo, Eickhoff and Pavlick "
    "(2024), “Talking Heads: Understanding Inter-layer Communication in Transformer Language Models”, "
    "arXiv 2406.09519. Ours: the robust z of a component, and which neurons a component feeds.",
)

LICENCE = (
    "The program is free under the MIT licence (file LICENSE). Models and corpora keep their own."
)
