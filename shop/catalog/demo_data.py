"""What the demo shop sells: words and numbers only."""

from dataclasses import dataclass

Named = tuple[str, str, str]  # slug, Chinese name, English name

# Top category, then its children.
CATEGORIES: tuple[tuple[Named, tuple[Named, ...]], ...] = (
    (
        ("digital", "数码电子", "Electronics"),
        (
            ("phones", "手机", "Phones"),
            ("audio", "耳机音响", "Audio"),
            ("cameras", "相机", "Cameras"),
        ),
    ),
    (
        ("kitchen", "厨房用品", "Kitchen"),
        (("kettles", "水壶", "Kettles"), ("drinkware", "杯壶", "Drinkware")),
    ),
    (
        ("shoes", "鞋靴", "Shoes"),
        (("running-shoes", "跑鞋", "Running shoes"), ("casual-shoes", "休闲鞋", "Casual shoes")),
    ),
    (("bags", "箱包", "Bags"), (("backpacks", "双肩包", "Backpacks"), ("handbags", "手提包", "Handbags"))),
    (
        ("lighting", "灯具照明", "Lighting"),
        (("desk-lamps", "台灯", "Desk lamps"), ("floor-lamps", "落地灯", "Floor lamps")),
    ),
    (
        ("furniture", "家具", "Furniture"),
        (("office-chairs", "办公椅", "Office chairs"), ("dining-chairs", "餐椅", "Dining chairs")),
    ),
    (
        ("garden", "绿植园艺", "Plants"),
        (("indoor-plants", "室内绿植", "Indoor plants"), ("succulents", "多肉植物", "Succulents")),
    ),
    (("watches", "腕表", "Watches"), ()),
    (("books", "图书", "Books"), (("fiction", "小说", "Fiction"), ("computing", "计算机", "Computing"))),
)

# Option values: code, Chinese, English.
COLOURS: dict[str, tuple[str, str]] = {
    "black": ("曜石黑", "black"),
    "white": ("云白", "white"),
    "blue": ("雾蓝", "blue"),
    "green": ("松绿", "green"),
    "red": ("朱红", "red"),
    "sand": ("沙色", "sand"),
    "brown": ("栗棕", "brown"),
    "silver": ("银色", "silver"),
}


@dataclass(frozen=True)
class Model:
    """One model of the shop; several options make it a family.

    slug: begins with the word that chooses the drawing. price: CNY of the first option. axis: the option that
    sizes are values of; colours: codes of COLOURS. step: CNY that each further size costs more.
    """

    slug: str
    zh: str
    en: str
    category: str
    price: str
    axis: str = ""
    sizes: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    step: str = "0"


_STORAGE = ("128 GB", "256 GB", "512 GB")
_SHOES = ("38", "39", "40", "41", "42", "43")
_VOLUME = ("350 ml", "500 ml", "750 ml")

MODELS: tuple[Model, ...] = (
    Model("phone-aurora-x", "极光 X 手机", "Aurora X phone", "phones", "3999.00", "storage", _STORAGE, ("black", "blue"), "400"),
    Model("phone-aurora-lite", "极光青春版手机", "Aurora Lite phone", "phones", "1799.00", "storage", _STORAGE, ("white", "green"), "300"),
    Model("phone-lantern-5", "灯塔 5 手机", "Lantern 5 phone", "phones", "2599.00", "storage", _STORAGE, ("black", "red"), "300"),
    Model("phone-pebble-mini", "卵石小屏手机", "Pebble Mini phone", "phones", "2199.00", "storage", _STORAGE, ("white", "sand"), "300"),
    Model("headphones-quiet-700", "静界 700 降噪耳机", "Quiet 700 noise-cancelling headphones", "audio", "1299.00", colours=("black", "white", "blue")),
    Model("headphones-studio-one", "录音室一号监听耳机", "Studio One monitor headphones", "audio", "899.00", colours=("black", "silver")),
    Model("headphones-runner-air", "跑者无线耳机", "Runner Air wireless headphones", "audio", "399.00", colours=("black", "green", "red")),
    Model("earbuds-dew", "露珠真无线耳机", "Dew true-wireless earbuds", "audio", "299.00", colours=("white", "blue", "sand")),
    Model("headset-team-call", "会议通话耳麦", "Team Call headset", "audio", "259.00", colours=("black", "white")),
    Model("camera-field-35", "原野 35 旁轴相机", "Field 35 rangefinder camera", "cameras", "6999.00", colours=("black", "silver")),
    Model("camera-vista-m2", "远景 M2 微单相机", "Vista M2 mirrorless camera", "cameras", "8499.00", colours=("black", "silver")),
    Model("camera-instant-pop", "波普拍立得相机", "Pop instant camera", "cameras", "549.00", colours=("white", "red", "blue", "green")),
    Model("camera-trail-4k", "山径 4K 运动相机", "Trail 4K action camera", "cameras", "1699.00", colours=("black", "sand")),
    Model("kettle-gooseneck", "细嘴手冲壶", "Gooseneck pour-over kettle", "kettles", "269.00", "volume", ("0.6 L", "0.9 L"), ("black", "white"), "40"),
    Model("kettle-quickboil", "快沸电热水壶", "Quickboil electric kettle", "kettles", "159.00", "volume", ("1.2 L", "1.7 L"), ("white", "silver"), "30"),
    Model("kettle-glass-tea", "玻璃煮茶壶", "Glass tea kettle", "kettles", "229.00", "volume", ("0.8 L", "1.2 L"), (), "50"),
    Model("kettle-enamel", "珐琅水壶", "Enamel kettle", "kettles", "189.00", colours=("red", "green", "sand")),
    Model("bottle-summit", "巅峰保温杯", "Summit insulated bottle", "drinkware", "129.00", "volume", _VOLUME, ("black", "white", "blue"), "20"),
    Model("bottle-brook", "溪流运动水杯", "Brook sports bottle", "drinkware", "69.00", "volume", ("500 ml", "750 ml"), ("blue", "green"), "10"),
    Model("flask-old-town", "老城保温壶", "Old Town vacuum flask", "drinkware", "199.00", "volume", ("1 L", "1.5 L"), ("silver", "brown"), "40"),
    Model("shoe-tempo-run", "节奏跑鞋", "Tempo running shoes", "running-shoes", "499.00", "size", _SHOES, ("black", "red", "blue")),
    Model("shoe-cloudstep", "云步缓震跑鞋", "Cloudstep cushioned running shoes", "running-shoes", "599.00", "size", _SHOES, ("white", "blue")),
    Model("shoe-canvas-low", "低帮帆布鞋", "Low canvas shoes", "casual-shoes", "199.00", "size", _SHOES, ("black", "white", "green")),
    Model("boot-chelsea", "切尔西短靴", "Chelsea boots", "casual-shoes", "699.00", "size", _SHOES, ("brown",)),
    Model("backpack-commute-20", "通勤双肩包", "Commute backpack", "backpacks", "329.00", "volume", ("16 L", "20 L"), ("black", "blue"), "40"),
    Model("backpack-ridge", "山脊徒步背包", "Ridge hiking backpack", "backpacks", "599.00", "volume", ("28 L", "38 L"), ("green", "red"), "100"),
    Model("bag-courier", "信使斜挎包", "Courier shoulder bag", "handbags", "259.00", colours=("black", "brown", "sand")),
    Model("tote-market", "集市帆布托特包", "Market canvas tote", "handbags", "119.00", colours=("white", "black", "green")),
    Model("bag-evening", "晚宴手提包", "Evening handbag", "handbags", "459.00", colours=("black", "red")),
    Model("lamp-desk-arc", "弧光护眼台灯", "Arc eye-care desk lamp", "desk-lamps", "299.00", colours=("black", "white")),
    Model("lamp-desk-mushroom", "蘑菇台灯", "Mushroom desk lamp", "desk-lamps", "189.00", colours=("white", "red", "green")),
    Model("lamp-paper-moon", "纸月亮床头灯", "Paper Moon bedside lamp", "desk-lamps", "149.00"),
    Model("lamp-floor-crane", "鹤立落地灯", "Crane floor lamp", "floor-lamps", "699.00", colours=("black", "brown")),
    Model("lamp-floor-linen", "亚麻落地灯", "Linen floor lamp", "floor-lamps", "559.00", colours=("white", "sand")),
    Model("chair-ergo-pro", "人体工学办公椅", "Ergo Pro office chair", "office-chairs", "1599.00", colours=("black", "silver")),
    Model("chair-study", "学习转椅", "Study swivel chair", "office-chairs", "499.00", colours=("blue", "green", "white")),
    Model("chair-oak-wishbone", "橡木叉骨餐椅", "Oak wishbone dining chair", "dining-chairs", "899.00", colours=("brown", "black")),
    Model("stool-bar-round", "圆面吧台凳", "Round bar stool", "dining-chairs", "329.00", colours=("black", "brown")),
    Model("plant-monstera", "龟背竹", "Monstera", "indoor-plants", "89.00", "size", ("S", "M", "L"), (), "60"),
    Model("plant-fiddle-fig", "琴叶榕", "Fiddle-leaf fig", "indoor-plants", "129.00", "size", ("S", "M", "L"), (), "80"),
    Model("plant-pothos", "绿萝", "Golden pothos", "indoor-plants", "39.00", "size", ("S", "M"), (), "20"),
    Model("plant-snake", "虎尾兰", "Snake plant", "indoor-plants", "59.00", "size", ("S", "M"), (), "30"),
    Model("plant-jade", "玉树", "Jade plant", "succulents", "49.00"),
    Model("plant-echeveria", "拟石莲多肉组合", "Echeveria trio", "succulents", "69.00"),
    Model("watch-meridian", "子午线自动机械表", "Meridian automatic watch", "watches", "2299.00", "size", ("38 mm", "41 mm"), ("black", "white")),
    Model("watch-harbor-diver", "港湾潜水表", "Harbor diver's watch", "watches", "1699.00", colours=("black", "blue", "green")),
    Model("watch-pulse-2", "脉动 2 智能手表", "Pulse 2 smart watch", "watches", "999.00", colours=("black", "silver", "sand")),
    Model("novel-river-lights", "《河灯》", "River Lights: a novel", "fiction", "49.00"),
    Model("novel-salt-road", "《盐道》", "The Salt Road: a novel", "fiction", "45.00"),
    Model("novel-last-ferry", "《末班渡轮》", "The Last Ferry: a novel", "fiction", "52.00"),
    Model("novel-winter-orchard", "《冬日果园》", "Winter Orchard: a novel", "fiction", "42.00"),
    Model("novel-tea-harvest", "《采茶季》", "Tea Harvest: a novel", "fiction", "46.00"),
    Model("novel-night-market", "《夜市》", "Night Market: a novel", "fiction", "39.00"),
    Model("book-failing-well", "《优雅降级》", "Failing Well: degraded modes", "computing", "82.00"),
    Model("book-queues", "《排队的艺术：高并发系统设计》", "The Art of Queues: building busy systems", "computing", "89.00"),
    Model("book-small-databases", "《小型数据库实战》", "Small Databases in Practice", "computing", "79.00"),
    Model("book-typed-python", "《带类型的 Python》", "Python with Types", "computing", "99.00"),
    Model("book-kind-interfaces", "《友善的界面》", "Kind Interfaces", "computing", "69.00"),
    Model("book-failure-drills", "《故障演练手册》", "A Handbook of Failure Drills", "computing", "85.00"),
)  # fmt: skip
