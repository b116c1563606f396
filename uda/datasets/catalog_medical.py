"""Medical data sets of the catalog: histology, chest films and MedMNIST.

Class lists and counts are those of the publishers. Downloads are offered where the license permits them without a form.
"""

from uda.datasets import medical, medical_arrays
from uda.datasets.catalog import Archive, DataSet, Domain
from uda.datasets.download import Download

PCAM = DataSet(
    name="pcam",
    title="PatchCamelyon",
    aliases=("patchcamelyon", "camelyonpatch"),
    domains=(Domain("patches"),),
    classes=("normal", "tumor"),
    folders=("pcam", "patchcamelyon", "pcamv1"),
    layout="pcam/camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5 with …_meta.csv beside",
    by_hand="get the files from https://zenodo.org/records/2546921 by hand (7 GB, CC0) and unpack them in pcam",
    reader=medical_arrays.read_pcam,
    fetches=True,
)

BREAKHIS = DataSet(
    name="breakhis",
    title="BreakHis",
    aliases=("breakhis_v1",),
    domains=(
        Domain("40X", (), (1995,)),
        Domain("100X", (), (2081,)),
        Domain("200X", (), (2013,)),
        Domain("400X", (), (1820,)),
    ),
    classes=("benign", "malignant"),
    folders=("breakhis", "BreaKHis_v1"),
    inner=("BreaKHis_v1", "histology_slides", "breast"),
    layout="breakhis/BreaKHis_v1/histology_slides/breast/{benign,malignant}/SOB/TYPE/SLIDE/{40X,100X,200X,400X}/*.png",
    by_hand=(
        "get BreaKHis_v1.tar.gz from https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-"
        "breakhis by hand (4 GB, for research) and unpack it in breakhis in the data root"
    ),
    reader=medical.read_breakhis,
)

_CRC = "https://zenodo.org/records/1214456/files"

NCT_CRC_HE = DataSet(
    name="nct_crc_he",
    title="NCT-CRC-HE",
    aliases=("nct-crc", "nct_crc_he_100k"),
    domains=(
        Domain("100k", ("NCT-CRC-HE-100K",), (100_000,)),
        Domain("7k", ("CRC-VAL-HE-7K",), (7_180,)),
        Domain("nonorm", ("NCT-CRC-HE-100K-NONORM",), (100_000,)),
    ),
    classes=("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"),
    folders=("nct_crc_he",),
    layout="nct_crc_he/{NCT-CRC-HE-100K,CRC-VAL-HE-7K,NCT-CRC-HE-100K-NONORM}/CLASS/*.tif",
    by_hand="get it from https://zenodo.org/records/1214456 by hand (CC BY 4.0) and unpack it in nct_crc_he",
    archives=(
        Archive(Download(f"{_CRC}/NCT-CRC-HE-100K.zip"), ("100k",)),
        Archive(Download(f"{_CRC}/CRC-VAL-HE-7K.zip"), ("7k",)),
        Archive(Download(f"{_CRC}/NCT-CRC-HE-100K-NONORM.zip"), ("nonorm",)),
    ),
)

LC25000 = DataSet(
    name="lc25000",
    title="LC25000",
    aliases=("lung_colon_image_set",),
    domains=(Domain("colon", ("colon_image_sets",), (10_000,)), Domain("lung", ("lung_image_sets",), (15_000,))),
    classes=("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc"),
    folders=("lc25000", "lung_colon_image_set"),
    inner=("lung_colon_image_set",),
    layout="lc25000/lung_colon_image_set/{lung_image_sets,colon_image_sets}/CLASS/*.jpeg",
    by_hand="get LC25000.zip (Borkowski et al., 2019) by hand and unpack it in lc25000 in the data root",
    reader=medical.read_lc25000,
)

CAMELYON17 = DataSet(
    name="camelyon17",
    title="Camelyon17-WILDS",
    aliases=("camelyon17_wilds", "camelyon17_v1.0", "wilds_camelyon17"),
    domains=(
        Domain("center0", ("0",), (59_436,)),
        Domain("center1", ("1",), (34_904,)),
        Domain("center2", ("2",), (85_054,)),
        Domain("center3", ("3",), (129_838,)),
        Domain("center4", ("4",), (146_722,)),
    ),
    classes=("normal", "tumor"),
    folders=("camelyon17_v1.0", "camelyon17"),
    inner=("camelyon17_v1.0",),
    layout="camelyon17_v1.0/metadata.csv with patches/patient_NNN_node_N/*.png beside",
    by_hand="get it by the package wilds or from https://wilds.stanford.edu by hand (10 GB, CC0) into the data root",
    reader=medical.read_camelyon17,
)

CHEST_XRAY = DataSet(
    name="chest_xray",
    title="chest X-ray pneumonia (Kermany et al., Cell 2018)",
    aliases=("kermany", "chest_xray_pneumonia"),
    domains=(Domain("pediatric", (), (5856, 5840)),),
    classes=("NORMAL", "PNEUMONIA"),
    folders=("chest_xray", "ChestXRay2017"),
    inner=("chest_xray",),
    layout="chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg",
    by_hand="get it from https://data.mendeley.com/datasets/rscbjbr9sj by hand (CC BY 4.0) and unpack it",
    reader=medical.read_chest_folders,
)

CHESTXRAY14 = DataSet(
    name="chestxray14",
    title="ChestX-ray14 (Wang et al., CVPR 2017)",
    aliases=("nih_chest_xray", "chest_xray14", "cxr8"),
    domains=(Domain("nih", (), (112_120,)),),
    classes=("finding", "no finding"),
    folders=("chestxray14", "CXR8", "nih_chest_xray"),
    layout="chestxray14/Data_Entry_2017.csv with images/*.png, train_val_list.txt and test_list.txt beside",
    by_hand="get it from https://nihcc.app.box.com/v/ChestXray-NIHCC by hand and unpack it in chestxray14",
    reader=medical.read_chestxray14,
)

MEDMNIST = DataSet(
    name="medmnist",
    title="MedMNIST",
    aliases=("medmnist2d",),
    domains=medical_arrays.medmnist_domains(),
    classes=(),
    folders=("medmnist",),
    layout="medmnist/NAME.npz (28 pixels) or medmnist/NAME_{64,128,224}.npz",
    by_hand="get NAME.npz from https://zenodo.org/records/10519652 by hand and put it in medmnist in the data root",
    reader=medical_arrays.read_medmnist,
    fetches=True,
)

MEDICAL = (PCAM, BREAKHIS, NCT_CRC_HE, LC25000, CAMELYON17, CHEST_XRAY, CHESTXRAY14, MEDMNIST)
