"""The data sets of the catalog.

Class lists and image counts are those of the data sets' publishers; label sets are those of the papers named beside
them. No checksums of the image archives are published, so none stands here; torchvision carries its own for digits.
"""

from uda.datasets.catalog import Archive, DataSet, Domain, words
from uda.datasets.catalog_domainnet import DOMAINNET
from uda.datasets.catalog_medical import MEDICAL
from uda.datasets.download import Download
from uda.datasets.labelsets import LabelSets

_DANCE = "DANCE (Saito et al., NeurIPS 2020)"

_OFFICE_CLASSES = words(
    """
    back_pack bike bike_helmet bookcase bottle calculator desk_chair desk_lamp desktop_computer file_cabinet
    headphones keyboard laptop_computer letter_tray mobile_phone monitor mouse mug paper_notebook pen phone printer
    projector punchers ring_binder ruler scissors speaker stapler tape_dispenser trash_can
    """
)
_OFFICE_SHARED = words("back_pack bike calculator headphones keyboard laptop_computer monitor mouse mug projector")
_OFFICE_OTHER = tuple(name for name in _OFFICE_CLASSES if name not in _OFFICE_SHARED)

OFFICE = DataSet(
    name="office",
    title="Office-31",
    aliases=("office31", "office-31"),
    domains=(
        Domain("amazon", ("a",), (2817,)),
        Domain("dslr", ("d",), (498,)),
        Domain("webcam", ("w",), (795,)),
    ),
    classes=_OFFICE_CLASSES,
    spellings={"laptop": "laptop_computer", "computer": "desktop_computer", "trashcan": "trash_can"},
    folders=("office31", "office", "domain_adaptation_images"),
    inner=("domain_adaptation_images", "office31", "original_images"),
    layout="office31/{amazon,dslr,webcam}/CLASS/*.jpg or office31/{amazon,dslr,webcam}/images/CLASS/*.jpg",
    by_hand=(
        "get domain_adaptation_images.tar.gz from https://people.eecs.berkeley.edu/~jhoffman/domainadapt/ by hand "
        "and unpack it to office31 in the data root"
    ),
    splits={
        "open-partial": LabelSets(_OFFICE_SHARED, _OFFICE_OTHER[:10], _OFFICE_OTHER[10:], f"split of {_DANCE}"),
        "open": LabelSets(_OFFICE_SHARED, (), _OFFICE_OTHER[10:], f"split of {_DANCE}"),
        "partial": LabelSets(_OFFICE_SHARED, _OFFICE_OTHER, (), f"split of {_DANCE}"),
        "closed": LabelSets(_OFFICE_CLASSES, (), (), "all classes shared"),
    },
)

OFFICE_CALTECH10 = DataSet(
    name="office_caltech10",
    title="Office-Caltech10",
    aliases=("office-caltech", "officecaltech10", "oc10"),
    domains=(
        Domain("amazon", ("a",), (958,)),
        Domain("caltech10", ("caltech", "c", "caltech256"), (1123,)),
        Domain("dslr", ("d",), (157,)),
        Domain("webcam", ("w",), (295,)),
    ),
    classes=words("backpack bike calculator headphones keyboard laptop monitor mouse mug projector"),
    spellings={
        "touring-bike": "bike",
        "head-phones": "headphones",
        "computer-keyboard": "keyboard",
        "laptop-101": "laptop",
        "laptop_computer": "laptop",
        "computer-monitor": "monitor",
        "computer-mouse": "mouse",
        "coffee-mug": "mug",
        "video-projector": "projector",
    },
    folders=("office_caltech10", "office_caltech", "office_caltech_10", "OfficeCaltech"),
    layout="office_caltech10/{amazon,caltech10,dslr,webcam}/CLASS/*.jpg",
    by_hand=(
        "get the ten classes that Office-31 and Caltech-256 share (Gong et al., CVPR 2012) by hand "
        "and put them in office_caltech10 in the data root"
    ),
)

_HOME_CLASSES = words(
    """
    Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer Couch
    Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer Helmet
    Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil
    Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon
    Table Telephone ToothBrush Toys Trash_Can TV Webcam
    """
)

OFFICE_HOME = DataSet(
    name="office_home",
    title="Office-Home",
    aliases=("officehome", "office-home"),
    domains=(
        Domain("art", ("ar",), (2427,)),
        Domain("clipart", ("cl",), (4365,)),
        Domain("product", ("pr",), (4439,)),
        Domain("real_world", ("rw", "real"), (4357,)),
    ),
    classes=_HOME_CLASSES,
    folders=("office_home", "OfficeHomeDataset_10072016", "OfficeHomeDataset"),
    inner=("OfficeHomeDataset_10072016", "images"),
    layout="office_home/{Art,Clipart,Product,Real World}/CLASS/*.jpg",
    by_hand=(
        "get OfficeHomeDataset_10072016.zip from https://www.hemanthdv.org/officeHomeDataset.html by hand "
        "(it lies on Google Drive) and unpack it to office_home in the data root"
    ),
    splits={
        "open-partial": LabelSets(_HOME_CLASSES[:10], _HOME_CLASSES[10:15], _HOME_CLASSES[15:], f"split of {_DANCE}"),
        "open": LabelSets(_HOME_CLASSES[:15], (), _HOME_CLASSES[15:], f"split of {_DANCE}"),
        "partial": LabelSets(_HOME_CLASSES[:25], _HOME_CLASSES[25:], (), f"split of {_DANCE}"),
        "closed": LabelSets(_HOME_CLASSES, (), (), "all classes shared"),
    },
)

_VISDA_CLASSES = words("aeroplane bicycle bus car horse knife motorcycle person plant skateboard train truck")
_VISDA_KNOWN = words("bicycle bus car motorcycle train truck")
_VISDA_URL = "http://csr.bu.edu/ftp/visda17/clf"

VISDA2017 = DataSet(
    name="visda2017",
    title="VisDA-2017 classification",
    aliases=("visda", "visda17", "visda-c"),
    domains=(
        Domain("train", ("synthetic", "visda_train", "t"), (152397,)),
        Domain("validation", ("real", "val", "visda_val", "v"), (55388,)),
    ),
    classes=_VISDA_CLASSES,
    spellings={"airplane": "aeroplane", "motorbike": "motorcycle"},
    folders=("visda2017", "visda", "visda17", "visda-c"),
    layout="visda2017/{train,validation}/CLASS/*",
    by_hand=(
        f"get train.tar and validation.tar from {_VISDA_URL} by hand "
        "(described at https://github.com/VisionLearningGroup/taskcv-2017-public/tree/master/classification) "
        "and unpack them in visda2017 in the data root"
    ),
    archives=(
        Archive(Download(f"{_VISDA_URL}/train.tar"), ("train",)),
        Archive(Download(f"{_VISDA_URL}/validation.tar"), ("validation",)),
    ),
    splits={
        "open-partial": LabelSets(_VISDA_CLASSES[:6], _VISDA_CLASSES[6:9], _VISDA_CLASSES[9:], f"split of {_DANCE}"),
        "open": LabelSets(
            _VISDA_KNOWN,
            (),
            tuple(name for name in _VISDA_CLASSES if name not in _VISDA_KNOWN),
            "split of OSBP (Saito et al., ECCV 2018)",
        ),
        "partial": LabelSets(_VISDA_CLASSES[:6], _VISDA_CLASSES[6:], (), f"split of {_DANCE}"),
        "closed": LabelSets(_VISDA_CLASSES, (), (), "all classes shared"),
    },
)

PACS = DataSet(
    name="pacs",
    title="PACS",
    domains=(
        Domain("art_painting", ("art", "painting"), (2048,)),
        Domain("cartoon", (), (2344,)),
        Domain("photo", (), (1670,)),
        Domain("sketch", (), (3929,)),
    ),
    classes=words("dog elephant giraffe guitar horse house person"),
    folders=("PACS", "pacs128", "kfold"),
    inner=("kfold", "images"),
    layout="PACS/{art_painting,cartoon,photo,sketch}/CLASS/* or PACS/kfold/{art_painting,…}/CLASS/*",
    by_hand=(
        "get PACS (Li et al., ICCV 2017) by hand, as https://github.com/facebookresearch/DomainBed does from Google "
        "Drive, and unpack it to PACS in the data root"
    ),
)

DIGITS = DataSet(
    name="digits",
    title="MNIST, USPS and SVHN",
    domains=(
        Domain("mnist", (), (70000,)),
        Domain("usps", (), (9298,)),
        Domain("svhn", (), (99289,)),
    ),
    classes=tuple("0123456789"),
    folders=("digits",),
    layout="digits.npz ({mnist,usps}_{train,test}_{images,labels}) or torchvision's files under digits",
    through_torchvision=True,
    by_hand="put torchvision's files for MNIST, USPS or SVHN in digits in the data root",
)

CATALOG = (OFFICE, OFFICE_CALTECH10, OFFICE_HOME, VISDA2017, PACS, DOMAINNET, DIGITS, *MEDICAL)
