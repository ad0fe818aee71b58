"""Every knob, once. The other configs start from this one and change what differs.

Values are those of the paper's run of R1-Reward-7B (arXiv 2505.02835) where it gives them.
Override on the command line with `section.field=value`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0  # of weights, order of data and samples
    c.workdir = ""  # run directory: configs, metrics, checkpoints, rollouts, results
    c.wandb = ""  # project in Weights & Biases to which the metrics are sent; empty: none
    c.profile_step = 0  # update (sft) or iteration (rl) traced by JAX's profiler; 0: none
    c.template = "full"  # wording of the prompts: full or brief (see prompts.TEMPLATES)
    c.prompt_from = ""  # file with the model's own prompt (see prompt_file.py); empty: the template

    c.model = ConfigDict()
    c.model.path = ""  # Hugging Face folder of the policy to start from
    c.model.max_pixels = 640 * 28 * 28  # larger images are shrunk; 640 visual tokens
    c.model.video_rule = "max"  # where text continues behind a video (see rope.mrope_positions)
    c.model.freeze_vision = False  # train the decoder only
    c.model.param_dtype = "float32"  # master weights
    c.model.compute_dtype = "bfloat16"  # forward and backward pass

    c.buckets = ConfigDict()  # padded sizes; the smallest that fits is taken
    c.buckets.tokens = (512, 1024, 2048, 4096)  # of a prompt, visual tokens included
    c.buckets.images = (1, 2, 4, 8)  # of a row
    c.buckets.patches = (1024, 2560)  # of an image, four per visual token

    c.mesh = ConfigDict()  # devices per axis; one may be -1, all the rest
    c.mesh.data = 1  # rows are split, parameters copied
    c.mesh.fsdp = -1  # rows and parameters are split
    c.mesh.tensor = 1  # heads and hidden units are split

    c.data = ConfigDict()
    c.data.train = ""  # jsonl of annotations (sft) or records (rl)
    c.data.heldout = ""  # jsonl of records to evaluate on while a model is trained
    c.data.video_fps = 2.0  # frames per second to look at; the rate of a folder of frames
    c.data.video_frames = 16  # at most; longer videos are sampled more thinly
    c.data.skip_unreadable = False  # leave out records with broken images or videos; else no start
    c.data.outside = True  # read images outside of the data's folder (../, links); else no start
    c.data.threads = 8  # reader threads that decode images and tokenise

    c.optimizer = ConfigDict()
    c.optimizer.b1 = 0.9  # AdamW
    c.optimizer.b2 = 0.95  # AdamW
    c.optimizer.weight_decay = 0.0  # AdamW
    c.optimizer.clip_norm = 1.0  # global gradient norm
    c.optimizer.warmup_share = 0.03  # of the updates
    c.optimizer.final_share = 0.1  # last learning rate / peak

    c.optimizer.max_skipped = 5  # updates in a row without finite gradients that end a run

    c.step = ConfigDict()
    c.step.chunk = 2048  # token positions per pass through the output head
    c.step.micro_tokens = 0  # tokens (rows x padded length) per pass of the model; 0: no limit
    c.step.remat = True  # recompute layers in the backward pass

    c.sft = ConfigDict()  # cold start
    c.sft.steps = 804  # updates; one epoch of 205,740 records
    c.sft.batch = 256  # examples per update
    c.sft.lr = 1e-5  # peak
    c.sft.max_completion_tokens = 1024  # longest text to imitate
    c.sft.mismatched = "keep"  # texts without verdict or against the label: keep, skip, refuse
    c.sft.balance = "none"  # labels 1:1: none, drop the surplus, or repeat the rarer ones

    c.scalar = ConfigDict()  # the Bradley-Terry baseline; the paper does not give its settings
    c.scalar.steps = 1607  # updates; one epoch of 205,740 records
    c.scalar.batch = 128  # pairs per update
    c.scalar.lr = 1e-6  # peak
    c.scalar.max_response_tokens = 1024  # longest response
    c.scalar.head = "linear"  # or mlp: two layers, as the baseline of the paper's Table 6

    c.rl = ConfigDict()
    c.rl.iterations = 335  # rollout batches
    c.rl.rollout_batch = 256  # samples per iteration
    c.rl.samples = 1  # of each prompt
    c.rl.epochs = 1  # passes over each rollout batch
    c.rl.train_batch = 128  # samples per update
    c.rl.lr = 1e-6  # peak (the release: 3e-7)
    c.rl.temperature = 1.0  # of the samples
    c.rl.loss = "stable_reinforce"  # or ppo_clip, reinforce_pp (see rl.losses.LOSSES)
    c.rl.aggregate = "token"  # token or sequence: what counts the same in the mean
    c.rl.baseline = "none"  # taken off rewards: none, batch, leave_one_out, group (samples > 1)
    c.rl.standardize = True  # advantages over the rollout batch; the filter looks at that scale
    c.rl.filter = "paper"  # advantage filter: paper, released or none
    c.rl.sigmas = 3.0  # of the filter, standard deviations
    c.rl.eps = 1e-8  # added to the standard deviation
    c.rl.clip_eps = 0.2  # of the surrogate, around ratio 1
    c.rl.min_ratio = 1e-3  # Pre-CLIP
    c.rl.max_ratio = 1e3  # Pre-CLIP
    c.rl.kl = "k1"  # estimator of the KL from the reference: k1 or k3
    c.rl.kl_coef = 0.0  # reward per nat from the reference (the release: 1e-3); 0 needs none
    c.rl.max_gap = 0.0  # nats of sampler and trainer apart: no start, later a warning; 0: by dtype
    c.rl.importance_cap = 0.0  # of trainer / sampler probability as a weight (e.g. 2); 0: none
    c.rl.format_weight = 0.5  # of the format reward
    c.rl.consistency_weight = 0.5  # of the consistency reward, times the result
    c.rl.swap_weight = 0.0  # of verdicts that follow swapped responses; trains on both orders
    c.rl.repetition_weight = 0.0  # taken off, times the share of repeated n-grams
    c.rl.repetition_n = 4  # words of these n-grams
    c.rl.length_weight = 0.0  # taken off in full at rollout.max_new_tokens
    c.rl.length_start = 0.75  # share of rollout.max_new_tokens that costs nothing
    c.rl.consistency_mode = "binary"  # binary (paper: 1, 0) or signed (release: 1, -1)
    c.rl.old_logp = "trainer"  # old log-probs from the trainer's forward pass or the sampler's

    c.rollout = ConfigDict()
    c.rollout.slots = 64  # prompts that are decoded at a time, each with all its samples
    c.rollout.prefill_batch = 8  # prompts prefilled at a time, when so many slots are idle
    c.rollout.compact = 4  # without waiting prompts, slots are divided by this once the rest fits
    c.rollout.parallel_samples = 0  # samples of a prompt that are decoded at a time; 0: all of them
    c.rollout.max_new_tokens = 1024  # longest completion
    c.rollout.top_k = 0  # sample from so many of the likeliest tokens; 0: from all
    c.rollout.top_p = 1.0  # and from the fewest that have so much probability together
    c.rollout.repetition_penalty = 1.0  # of tokens of prompt and completion; above 1 against them
    c.rollout.unroll = False  # unroll the decoder's layers: faster on CPU, slower to compile

    c.rollout.mesh = ConfigDict()  # of the sampler, over the same devices; all 0: as mesh
    c.rollout.mesh.data = 0  # as in mesh
    c.rollout.mesh.fsdp = 0  # as in mesh
    c.rollout.mesh.tensor = 0  # as in mesh

    c.judge = ConfigDict()
    c.judge.path = ""  # Hugging Face folder of the judge
    c.judge.required = True  # a run without path and url is refused; judge=none says: no judge
    c.judge.min_mass = 0.5  # least probability of Yes and No together that is a verdict
    c.judge.lines = 0  # last lines of an analysis that it sees (the release: 3); 0: all
    c.judge.devices = 0  # the last so many are the judge's alone; 0: it shares all with the policy
    c.judge.batch = 64  # pairs that are scored together
    c.judge.max_tokens = 2048  # longest judge prompt
    c.judge.url = ""  # instead of a path: an OpenAI-compatible server, http://host:8000/v1
    c.judge.model = ""  # name of the model that it serves
    c.judge.api_key_env = "JUDGE_API_KEY"  # environment variable with the key, if it wants one
    c.judge.mode = "auto"  # a server's first token is read, or its text (it reasons first); or try
    c.judge.answer_tokens = 1024  # that a server may write where its text is read
    c.judge.probe_s = 60.0  # that it may take to answer before the first update, seconds
    c.judge.concurrency = 64  # requests under way at a time
    c.judge.timeout_s = 30.0  # of a request, seconds
    c.judge.retries = 3  # further attempts of a request
    c.judge.backoff_s = 0.5  # mean wait before the first of them, seconds; doubles with each
    c.judge.budget_s = 600.0  # of a batch, pause included; what has no answer then has no verdict
    c.judge.pause_share = 0.5  # of the latest pairs without verdict: above, it waits and asks again
    c.judge.pause_s = 30.0  # that wait, seconds
    c.judge.mesh = ConfigDict()  # of its own, over the same devices or over judge.devices
    c.judge.mesh.data = 1  # as in mesh
    c.judge.mesh.fsdp = -1  # as in mesh
    c.judge.mesh.tensor = 1  # as in mesh

    c.eval = ConfigDict()
    c.eval.benchmark = ""  # a name in data.benchmarks.BENCHMARKS, or a file of records
    c.eval.data = ""  # folder of the benchmark's files; empty: that of the file
    c.eval.samples = 5  # votes per judgement, beside the greedy one
    c.eval.temperature = 1.0  # of the votes
    c.eval.stop = "none"  # end votes whose outcome is clear: none, exact, posterior (voting.RULES)
    c.eval.generation = "auto"  # a model's own settings: auto, checkpoint, config (generation.py)
    c.eval.response_format = "answer"  # where its verdict stands (prompts.response_format)
    c.eval.records = 128  # of data.heldout judged with every save of sft and rl; 0: none

    c.checkpoint = ConfigDict()
    c.checkpoint.updates = 50  # of sft and scalar between saves; 0: only at the end
    c.checkpoint.iterations = 10  # of rl between saves; 0: only at the end
    c.checkpoint.keep = 2  # newest saves that are kept, beside the best one by accuracy
    return c
