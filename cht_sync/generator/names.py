"""Names of fictional people and places, in the scripts that real deployments use."""

from __future__ import annotations

from random import Random

WOMEN = (
    "Aïssatou", "Akinyi", "Amina", "Awa", "Chidinma", "Esi", "Fátima", "Gloria", "Habiba", "Ìyábọ̀",
    "Jamila", "Kadiatou", "María José", "Mariam", "Nakato", "Ngozi", "Nyambura", "Rehema", "Salomé",
    "Wanjikũ", "Zawadi", "सीता", "गीता", "कमला", "ፀሐይ", "আয়েশা", "ရတနာ", "Thảo",
)  # fmt: skip
MEN = (
    "Abdoulaye", "Baraka", "Chukwuemeka", "Daudi", "Étienne", "Fidèle", "Girma", "Hamisi", "Issouf",
    "João", "Juma", "Kwabena", "Luís", "Mũthoni", "Ndũng'u", "Olúṣẹ́gun", "Otieno", "Ousmane", "Rafael",
    "Salim", "Tendai", "राम", "हरि", "विष्णु", "አበበ", "রহিম", "အောင်", "Đức",
)  # fmt: skip
FAMILIES = (
    "Adéyẹmí", "Banda", "Bâ", "Chebet", "Coulibaly", "Diallo", "Fernández", "Guèye", "Kamau", "Kiprono",
    "Mbeki", "Mwangi", "Nguyễn", "Njoroge", "N'Diaye", "Núñez", "Okafor", "Otieno", "Ouédraogo", "Phiri",
    "Sánchez", "Sow", "Tadesse", "Traoré", "Wafula", "श्रेष्ठ", "तामाङ", "गुरुङ", "ተስፋዬ", "বেগম", "ထွန်း",
)  # fmt: skip
PLACES = (
    "Amani", "Baobab", "Bellavista", "Chaurikharka", "Dar es Amal", "Kĩrĩnyaga", "Kokrobité", "Lakeside",
    "Maji Mazuri", "Namanga", "Nyahururu Hill", "Ouagarou", "Patan Dhoka", "Rift View", "San Andrés",
    "Sunrise", "Tambacounda Nord", "Umoja", "Vía Láctea", "सुनकोशी", "ደብረ ሰላም", "নদীপাড়",
)  # fmt: skip


def given_name(source: Random, sex: str) -> str:
    """Pick a given name; `sex` is "female" or "male"."""
    return source.choice(WOMEN if sex == "female" else MEN)


def phone(source: Random) -> str:
    """Make a telephone number from the range that is reserved for fiction (555-0100 to 555-0199)."""
    return f"+1{source.randrange(200, 1000)}55501{source.randrange(100):02}"
