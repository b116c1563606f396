"""DomainNet (Peng et al., ICCV 2019): 345 classes in six domains."""

from uda.datasets.catalog import Archive, DataSet, Domain, words
from uda.datasets.download import Download
from uda.datasets.labelsets import LabelSets

_CLASSES = words(
    """
    aircraft_carrier airplane alarm_clock ambulance angel animal_migration ant anvil apple arm asparagus axe
    backpack banana bandage barn baseball baseball_bat basket basketball bat bathtub beach bear beard bed bee belt
    bench bicycle binoculars bird birthday_cake blackberry blueberry book boomerang bottlecap bowtie bracelet brain
    bread bridge broccoli broom bucket bulldozer bus bush butterfly cactus cake calculator calendar camel camera
    camouflage campfire candle cannon canoe car carrot castle cat ceiling_fan cello cell_phone chair chandelier
    church circle clarinet clock cloud coffee_cup compass computer cookie cooler couch cow crab crayon crocodile
    crown cruise_ship cup diamond dishwasher diving_board dog dolphin donut door dragon dresser drill drums duck
    dumbbell ear elbow elephant envelope eraser eye eyeglasses face fan feather fence finger fire_hydrant fireplace
    firetruck fish flamingo flashlight flip_flops floor_lamp flower flying_saucer foot fork frog frying_pan garden
    garden_hose giraffe goatee golf_club grapes grass guitar hamburger hammer hand harp hat headphones hedgehog
    helicopter helmet hexagon hockey_puck hockey_stick horse hospital hot_air_balloon hot_dog hot_tub hourglass
    house house_plant hurricane ice_cream jacket jail kangaroo key keyboard knee knife ladder lantern laptop leaf
    leg light_bulb lighter lighthouse lightning line lion lipstick lobster lollipop mailbox map marker matches
    megaphone mermaid microphone microwave monkey moon mosquito motorbike mountain mouse moustache mouth mug
    mushroom nail necklace nose ocean octagon octopus onion oven owl paintbrush paint_can palm_tree panda pants
    paper_clip parachute parrot passport peanut pear peas pencil penguin piano pickup_truck picture_frame pig pillow
    pineapple pizza pliers police_car pond pool popsicle postcard potato power_outlet purse rabbit raccoon radio
    rain rainbow rake remote_control rhinoceros rifle river roller_coaster rollerskates sailboat sandwich saw
    saxophone school_bus scissors scorpion screwdriver sea_turtle see_saw shark sheep shoe shorts shovel sink
    skateboard skull skyscraper sleeping_bag smiley_face snail snake snorkel snowflake snowman soccer_ball sock
    speedboat spider spoon spreadsheet square squiggle squirrel stairs star steak stereo stethoscope stitches
    stop_sign stove strawberry streetlight string_bean submarine suitcase sun swan sweater swing_set sword syringe
    table teapot teddy-bear telephone television tennis_racquet tent The_Eiffel_Tower The_Great_Wall_of_China
    The_Mona_Lisa tiger toaster toe toilet tooth toothbrush toothpaste tornado tractor traffic_light train tree
    triangle trombone truck trumpet t-shirt umbrella underwear van vase violin washing_machine watermelon waterslide
    whale wheel windmill wine_bottle wine_glass wristwatch yoga zebra zigzag
    """
)
_URL = "http://csr.bu.edu/ftp/visda/2019/multi-source"
# the cleaned archives of clipart and painting lie apart; for the rest, the published lists leave duplicates out
_FILES = {
    "clipart": "groundtruth/clipart.zip",
    "infograph": "infograph.zip",
    "painting": "groundtruth/painting.zip",
    "quickdraw": "quickdraw.zip",
    "real": "real.zip",
    "sketch": "sketch.zip",
}
_LISTS = [
    Archive(Download(f"{_URL}/domainnet/txt/{domain}_{split}.txt"), (domain,))
    for domain in _FILES
    for split in ("train", "test")
]

DOMAINNET = DataSet(
    name="domainnet",
    title="DomainNet",
    aliases=("domain_net",),
    domains=(  # as first published, and without duplicates
        Domain("clipart", (), (48837, 48129)),
        Domain("infograph", (), (53201, 51605)),
        Domain("painting", (), (75759, 72266)),
        Domain("quickdraw", (), (172500,)),
        Domain("real", (), (175327, 172947)),
        Domain("sketch", (), (70386, 69128)),
    ),
    classes=_CLASSES,
    folders=("domainnet", "domain_net", "DomainNet", "M3SDA"),
    layout="domainnet/{clipart,infograph,painting,quickdraw,real,sketch}/CLASS/* with {domain}_{train,test}.txt beside",
    lists=(
        "{domain}_{split}.txt",
        "image_list/{domain}_{split}.txt",
        "txt/{domain}_{split}.txt",
        "splits/{domain}_{split}.txt",
    ),
    by_hand="get it from https://ai.bu.edu/M3SDA/ by hand (18 GB) and unpack it in domainnet in the data root",
    archives=(*(Archive(Download(f"{_URL}/{file}"), (domain,)) for domain, file in _FILES.items()), *_LISTS),
    splits={
        "open-partial": LabelSets(
            _CLASSES[:150], _CLASSES[150:200], _CLASSES[200:], "split of CMU (Fu et al., ECCV 2020)"
        ),
        "closed": LabelSets(_CLASSES, (), (), "all classes shared"),
    },
)
