import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from modelrank import build
from modelrank.types import ModelRankError

CONF = Path(__file__).parents[1] / "conf"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["hub=timm"], r"^hub\.names is empty"),
        (["hub=torchvision", "hub.names=[resnet17]"], "^torchvision has no classification model 'resnet17'"),
        (["hub=checkpoints"], r"^hub\.folder=None"),
        (
            ["hub=checkpoints", "hub.architecture._target_=torchvision.models.resnet1800"],
            r"^_target_=torchvision\.models\.resnet1800: torchvision\.models has no resnet1800; did you mean resnet18",
        ),
        (
            ["hub=checkpoints", "hub.architecture._target_=my_own.nets.Net"],
            r"^_target_=my_own\.nets\.Net: there is no module my_own here",
        ),
        (["models.mobilenet_v2_b.name=mobilenet_v2"], r"^models\.mobilenet_v2_b\.name=mobilenet_v2: give the"),
        (
            ["hub=torchvision", "hub.names=[mobilenet_v2]", "+model=[mobilenet_v2]"],
            r"^hub=torchvision has two models mobilenet_v2: models\.mobilenet_v2 and one that it finds",
        ),
    ],
)
def test_a_hub_that_cannot_be_made_is_told_in_one_sentence(overrides, message, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*overrides, f"paths.cache={tmp_path}"])
    with pytest.raises(ModelRankError, match=message):
        build.models(cfg)


def test_a_data_set_that_cannot_be_made_is_told_in_one_sentence():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["dataset=pets", "dataset.scored=[test]"])
    with pytest.raises(ModelRankError, match=r"^dataset\.scored=\['test'\]"):
        build.dataset(cfg)


@pytest.mark.parametrize(
    ("overrides", "make", "says"),
    [
        (["protocol.learning_rates=[]"], build.protocol, r"^protocol\.learning_rates=\[\]"),
        (["protocol.learning_rates=[-1]"], build.protocol, r"^protocol\.learning_rates=-1"),
        (["protocol.batch_size=0"], build.protocol, r"^protocol\.batch_size=0"),
        (["protocol.image_size=0"], build.protocol, r"^protocol\.image_size=0"),
        (["protocol.image_size=big"], build.protocol, r"^protocol\.image_size=big"),
        (["protocol.smallest_crop=2"], build.protocol, r"^protocol\.smallest_crop=2"),
        (["protocol.precision=fp8"], build.protocol, r"^protocol\.precision=fp8: give one of 32-true"),
        (["protocol.racing.rung=many"], build.protocol, r"^protocol cannot be made: '<' not supported"),
        (["protocol=linear_probe", "protocol.strengths=[]"], build.protocol, r"^protocol\.strengths=\[\]"),
        (["protocol=linear_probe", "protocol.batch_size=0"], build.protocol, r"^protocol\.batch_size=0"),
        (["+dataset.colour=red"], build.dataset, r"^dataset cannot be made: .*unexpected keyword argument 'colour'"),
        (["stage=recommend", "constraints.max_parameters=5M"], build.constraints, r"^constraints\.max_parameters=5M"),
        (["hub=checkpoints", "hub.preprocessing.size=abc"], build.models, r"^preprocessing\.size=abc"),
    ],
)
def test_a_value_that_cannot_be_is_told_by_its_key(overrides, make, says, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*overrides, f"paths.cache={tmp_path}"])
    with pytest.raises(ModelRankError, match=says):
        make(cfg)


def test_one_learning_rate_is_a_list_of_one():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = [build.protocol(compose("config", [f"protocol.learning_rates={rates}"])) for rates in ("1e-4", "[1e-4]")]
    assert made[0].learning_rates == made[1].learning_rates == [1e-4]


def test_a_batch_that_is_no_number_is_left_to_the_protocol(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["protocol.batch_size=big", f"paths.run={tmp_path}"])
    build.refuse_impossible(cfg, sweeping=False)


@pytest.mark.parametrize("value", ["/x/my data (1)", "/x/花/数据", "~/images", "/x/a=b,c", "/x/it's", "[a, b"])
def test_a_value_that_hydra_cannot_read_is_answered_with_its_quoted_form(value, tmp_path):
    with pytest.raises(ModelRankError, match="cannot be read") as refusal:
        build.refuse_unreadable([f"dataset.root={value}"])
    (quoted,) = re.findall(r'"(dataset\.root=.*)"$', str(refusal.value))
    build.refuse_unreadable([quoted])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config", ["dataset=folder", quoted]).dataset.root == value


@pytest.mark.parametrize("dataset", ["folder", "coco_folder", "voc_folder", "yolo_folder"])
def test_a_folder_is_called_as_it_is_called(dataset, tmp_path, monkeypatch):
    (tmp_path / "花").mkdir()
    monkeypatch.chdir(tmp_path / "花")

    def name(*given):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", [f"dataset={dataset}", *given]).dataset.name

    given = {"/x/leaves": "leaves", "~/leaves/": "leaves", ".": "花", "/": "root"}
    assert {path: name(f"dataset.root='{path}'") for path in given} == given
    assert name("dataset.root=/x/leaves", "dataset.name=oaks") == "oaks"
    assert name("dataset.root=null") == name() == "folder"
    assert name("dataset.root=2024") == "2024", "which is a number to Hydra"


@pytest.mark.parametrize(
    ("hub", "file", "names"),
    [
        ("files", "a.npy", []),
        ("checkpoints", "a.pth", []),
        ("timm", "resnet18.a1_in1k.pth", ["hub.names=[resnet18.a1_in1k]"]),
        ("torchvision", "resnet18-f37072fd.pth", ["hub.names=[resnet18]"]),
    ],
)
def test_the_folder_of_a_hub_may_be_called_by_a_number(hub, file, names, tmp_path, monkeypatch):
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / file).touch()
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"hub={hub}", "hub.folder=2024", *names])
    (model,) = build.models(cfg).values()
    assert model.availability(tmp_path).where == f"2024/{file}"


def refused(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [*overrides, "paths.run=none"])
    with pytest.raises(ModelRankError) as refusal:
        build.refuse_impossible(cfg, sweeping=False)
    return str(refusal.value)


@pytest.mark.parametrize(
    "limit",
    [
        "fast_dev_run=true",
        "limit_train_batches=0.1",
        "limit_val_batches=1",
        "limit_test_batches=2",
        "limit_predict_batches=2",
        "overfit_batches=1",
        "max_time=00:00:01:00",
        "max_steps=3",
        "max_epochs=1",
        "accumulate_grad_batches=2",
        "gradient_clip_val=1.0",
    ],
)
def test_a_trainer_that_decides_how_much_is_done_is_refused_before_any_work(limit):
    """Measurements and features are found again by protocol, images and model, and would be taken for whole ones."""
    assert f"trainer.{limit.split('=')[0]}=" in refused("stage=finetune", f"+trainer.{limit}")


def test_a_batch_that_several_processes_cannot_share_is_refused_before_any_work():
    said = "batch_size=32 images a step cannot be shared equally by 3 processes"
    assert said in refused("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        shared = compose("config", ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=4", "paths.run=none"])
    build.refuse_impossible(shared, sweeping=False)


@pytest.mark.parametrize("name", ["measured", "named", "scored"])
def test_a_table_of_the_memory_that_is_not_there_is_refused_before_any_work(name):
    assert "there is no table" in refused(f"memory.{name}=[experiments/truth/measured.csv,typo.csv]")
    assert "give a list of tables, [typo.csv]" in refused(f"memory.{name}=typo.csv")
    assert "give a list of tables, []" in refused(f"memory.{name}=null")


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_race_of_several_processes_is_refused_before_any_work(executor):
    assert "stage=recommend with trainer=ddp" in refused("stage=recommend", f"executor={executor}", "trainer=ddp")


def test_analyse_is_of_one_process():
    assert "stage=analyse with trainer=ddp" in refused("stage=analyse", "trainer=ddp")


def test_what_hydra_can_read_passes():
    given = [
        "hub.names=[a,b]",
        "+a.b=1",
        "~x",
        "++a._target_=b",
        "seed=1,2",
        "--config-dir",
        "my conf",
        "--cfg=job",
        "-m",
    ]
    build.refuse_unreadable(given)


@pytest.mark.parametrize("argument", [
    "hub.architecture._target_=os.system", "+x={_target_: os.system, command: ls}", "+x={'_target_': 'os.system'}",
    "++stage._target_='subprocess.run'", "hydra.launcher._target_=os.abort", "x=[{_target_:builtins.eval}]",
    "hub.architecture._target_=modelrank.packages._run", "a._target_=torchvision.models._utils.x",
    "a._target_=torch.hub.load", "a._target_=modelrankx.y", "a._target_=", "a._target_=${b}",
])  # fmt: skip
def test_a_command_runs_nothing_that_it_names_but_networks(argument):
    with pytest.raises(ModelRankError, match=r"on the command line a _target_ is of .* is not run"):
        build.refuse_foreign([argument])


def test_networks_may_be_named_on_the_command_line():
    named = ["torchvision.models.resnet18", "timm.create_model", "torch.nn.Identity", "modelrank.hub.encoders.VGG6"]
    build.refuse_foreign(
        [f"hub.architecture._target_={name}" for name in named] + ["seed=1", "dataset.root='_target_'"]
    )


def test_a_run_refuses_what_its_command_names(tmp_path):
    trace = tmp_path / "trace"
    command = [sys.executable, "run.py", f"stage={{_target_: os.mkdir, path: {trace}}}", f"paths.cache={tmp_path}"]
    done = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "os.mkdir is not run" in done.stderr
    assert "Traceback" not in done.stderr
    assert not trace.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bugdet=1min"], "there is no option bugdet; did you mean budget"),
        (["stage=recommend", "+foo=1"], "there is no option foo; there are budget, constraints, dataset"),
        (["scorer=[disco,logmee]"], "there is no scorer logmee; did you mean logme"),
        (["scorer=disco,logmee", "-m"], "there is no scorer logmee; did you mean logme"),
        (["model=[mobilenet_v3]"], "there is no model mobilenet_v3; did you mean mobilenet_v2"),
        (["budget=1min"], "budget is an option of stage=recommend"),
        (["stage=rank", "keep=best"], "keep is an option of stage=finetune"),
        (
            ["-m", "scorer=disco,logme", "scorers.disco.groups=2"],
            r"scorers\.disco\.groups is a setting of disco, and a job of scorer=logme .*\(scorer=\[disco,logme\]\)",
        ),
        (["scorer=[knn,ncc]", "scorers.disco.groups=2"], "a job of scorer=knn,ncc has no such scorer"),
    ],
)
def test_an_option_that_nobody_reads_is_refused(arguments, says):
    with pytest.raises(ModelRankError, match=says):
        build.refuse_unknown(arguments)
    build.refuse_unknown([*arguments, "--config-dir=mine"])


def test_options_of_hydra_of_groups_and_of_parts_are_none_of_these():
    build.refuse_unknown(["stage=recommend", "budget=1min", "~models.x", "hydra/launcher=joblib", "hydra.run.dir=a/b"])
    build.refuse_unknown(["-m", "scorer=disco,[logme,disco],all", "scorers.disco.groups=1,2"])
    build.refuse_unknown(["scorers.disco.groups=2"])
    build.refuse_unknown(["scorer=logme", "+scorers.disco.groups=2"])
    build.refuse_unknown(["dataset@general=openclipart", "scorer=[all]", "model=[supervised/resnet50]", "-m"])
    build.refuse_unknown(["+experiment/parts=real_truth", "stage=finetune,recommend", "budget=1min", "seed=range(0,3)"])
