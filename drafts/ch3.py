import json
p='/work/wt/book/notebooks/03_training_on_gpu.ipynb'
nb=json.load(open(p)); cells={c['id']:c for c in nb['cells']}
def lines(text): return text.strip('\n').splitlines(keepends=True)
def rep(id,*pairs):
    s=''.join(cells[id]['source'])
    for a,b in pairs:
        assert a in s,(id,a); s=s.replace(a,b)
    cells[id]['source']=s.splitlines(keepends=True)
def after(id,new,kind,text,**meta):
    c={'cell_type':kind,'id':new,'metadata':meta,'source':lines(text)}
    if kind=='code': c|={'execution_count':None,'outputs':[]}
    i=next(i for i,x in enumerate(nb['cells']) if x['id']==id); nb['cells'].insert(i+1,c); cells[new]=c

rep('cell-00',
('**Question.** What happens in one step of training, and in an epoch of them? Why','**Question.** What happens in one step of training, and how does one see that a network learns? Why'),
('You will write the training loop yourself, in a dozen lines, and get the losses of ferlib\'s to the last digit. Then you\nwill see two maps',
 'You will take one step by hand, too short, right and too long. You will write the training loop yourself, watch a network go from\nguessing to knowing, and get the losses of ferlib\'s own loop to the last digit. Then you will see two maps'))
rep('cell-01',('from ferlib.training.schedules import schedule\n','from ferlib.training.schedules import schedule\n'))
cells['cell-03']['source']=lines(r'''
## 3.1 One step

A network with weights $\theta$ gives every face one number a class, the logits $z$, and from them probabilities
$p_c = e^{z_c} / \sum_k e^{z_k}$. The **loss** of a face of class $y$ is $-\log p_y$: nearly nothing where the network is sure and right,
much where it is sure and wrong. Whoever gives each of seven classes a seventh loses $\log 7 \approx 1.95$. Keep that number in mind: it is
where a network stands that has learnt nothing.

A **step** takes a batch of $B$ faces and asks of every weight: if it grew a little, would the loss rise or fall? That is the **gradient**;
`backward` finds it for all weights in one pass from the loss back to the pixels. Then every weight moves a little *against* it:

$$L(\theta) = -\frac1B \sum_{i=1}^{B} \log p_{y_i}(x_i; \theta), \qquad \theta \leftarrow \theta - \eta\, \nabla_\theta L(\theta).$$

The **learning rate** $\eta$ says how far. We take a narrow IVSA, sixteen synthetic faces, and one gradient. From the same weights we
then go steps of many lengths, and each time look at the loss of these sixteen faces, and of sixteen others that had no say:
''')
cells['cell-03']['metadata']={'quoted':{'1.95':'the logarithm of 7'}}
loop=''.join(cells['cell-04']['source'])
i=loop.index('torch.manual_seed(recipe.seed)\nmodel = ')
setup=loop[:i].rstrip()+'\n'
loop=loop[i:]
setup=setup.replace('see 3.4','see 3.6').replace('"dropout": 0.1','"dropout": 0.0')
SETTINGS
after('cell-03','cell-03a','code',setup)
after('cell-03a','cell-03b','code',r'''
torch.manual_seed(SEED)
start = build_model(recipe.config).to(device).train()
some = train.subset(np.random.default_rng(SEED).permutation(len(train))[:32])
pictures, truth = Preprocess.of(recipe.config)(some.pixels).to(device), some.labels().to(device)
parts = {"these sixteen faces": slice(0, 16), "sixteen others": slice(16, 32)}
cross_entropy = torch.nn.functional.cross_entropy

gradient = torch.autograd.grad(cross_entropy(start(pictures[:16]), truth[:16]), list(start.parameters()))
rates = np.geomspace(0.001, 10, 17)
with torch.no_grad():
    before = {name: cross_entropy(start(pictures[rows]), truth[rows]).item() for name, rows in parts.items()}
    losses_after = {name: [] for name in parts}
    for rate in rates:
        moved = deepcopy(start)
        for weight, slope in zip(moved.parameters(), gradient, strict=True):
            weight -= rate * slope
        for name, rows in parts.items():
            losses_after[name].append(cross_entropy(moved(pictures[rows]), truth[rows]).item())
plots.step_sizes(rates, losses_after, before)
''')
after('cell-03b','cell-03c','markdown',r'''
Read it from left to right. A tiny step changes next to nothing. A longer one lowers the loss of the batch, and beyond some length the
step overshoots: the gradient is the slope *here*, and says nothing of what lies far away. The others gain less from the step, or nothing at
all: one gradient of sixteen faces knows these sixteen. That is why training takes many small steps, each on other faces, so that what only
one batch wants averages out, and what all faces want adds up.

## 3.2 Many steps: a network that learns

An **epoch** has shown every training face once, in a new random order. Here is the whole of training in the open. Three lines are about luck
rather than learning: all randomness of an epoch comes from a generator that is seeded by the run's seed *and the number of the epoch*. So
epoch 7 is the same epoch 7 whether or not the machine was switched off after epoch 6. The step is the one from above with two habits
added: momentum (the steps before go on a little, and smooth the way) and a learning rate that rises and falls over the run.
''')
loop=loop.replace('steps, losses = train.labels().to(device), len(train) // recipe.batch_size, []','steps = train.labels().to(device), len(train) // recipe.batch_size\nlosses, answers = [], []') if 'steps, losses =' in loop else loop
loop=loop.replace('    losses.append(total / steps)\n\nlosses','''    losses.append(total / steps)
    with evaluating(model):
        batches = ordered_batches(validation.labels(), "stored")
        answers.append(predict_batches(pixel_logits(model, validation), batches).argmax(axis=1))  # (faces,)''')
assert 'answers.append' in loop
cells['cell-04']['source']=lines(loop)
after('cell-04','cell-04a','code',r'''
known = validation.labels().numpy()
by_hand = pd.DataFrame(
    {"epoch": range(EPOCHS), "train_loss": losses, "accuracy": [float((said == known).mean()) for said in answers]}
)
chance = 1 / len(faces.classes)
plots.curves({"the loop by hand": by_hand}, chance=(-np.log(chance), chance)).update_layout(
    title_text="A network learns to read faces"
)
''')
after('cell-04a','cell-04b','code',r'''
print(f"guessing: {chance:.1%}; after the first epoch {by_hand['accuracy'].iloc[0]:.1%}, after the last "
      f"{by_hand['accuracy'].iloc[-1]:.1%} of {len(validation)} validation faces")  # fmt: skip
one_each = [int(np.flatnonzero(known == label)[0]) for label in range(len(faces.classes))]
captions = [
    "<br>".join(f"{when}: {faces.classes[said[row]]}" for when, said in (("first", answers[0]), ("last", answers[-1])))
    for row in one_each
]
plots.face_grid(
    [[(validation.pixels[row, 0].numpy(), text) for row, text in zip(one_each, captions, strict=True)]],
    "What it calls a face of each class, after the first epoch and after the last",
    [faces.classes[known[row]] for row in one_each], side=118,
).update_layout(margin_t=120, height=330)  # fmt: skip
''')
TEXTAFTER
rep('cell-05',('`fit` does the same and looks','`fit` does the same and looks'))
rep('cell-09',('## 3.2 Two maps','## 3.3 Two maps'))
rep('cell-15',('table of 3.5','table of 3.7'),('## 3.3 Curves','## 3.4 Curves'))
rep('cell-18',('## 3.4 Numbers','## 3.5 Numbers'))
cells['cell-03a']['source']=lines(''.join(cells['cell-03a']['source']).replace('see 3.6','see 3.5'))
rep('cell-15',('table of 3.7','table of 3.6'))
rep('cell-20',('## 3.5 One GPU','## 3.6 One GPU'))
rep('cell-22',('in the loop of 3.1,','in the loop of 3.2,'))
json.dump(nb,open(p,'w'),indent=1,ensure_ascii=False,sort_keys=True); open(p,'a').write('\n')
