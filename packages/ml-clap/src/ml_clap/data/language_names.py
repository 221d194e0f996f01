"""Names of the 202 languages, so that one can be found by typing: in English, and as its speakers write it.

The codes are those of FLORES-200 (`languages.py`), whose README names them in English; where one language has
two codes, the name says what sets them apart.
"""

from __future__ import annotations

from ml_clap.data.languages import SONAR_LANGUAGES, resolve

_ENGLISH = """
ace_Arab Acehnese (Arabic script)|ace_Latn Acehnese (Latin script)|acm_Arab Arabic, Mesopotamian
acq_Arab Arabic, Ta'izzi-Adeni|aeb_Arab Arabic, Tunisian|afr_Latn Afrikaans|ajp_Arab Arabic, South Levantine
aka_Latn Akan|als_Latn Albanian, Tosk|amh_Ethi Amharic|apc_Arab Arabic, North Levantine
arb_Arab Arabic, Standard|ars_Arab Arabic, Najdi|ary_Arab Arabic, Moroccan|arz_Arab Arabic, Egyptian
asm_Beng Assamese|ast_Latn Asturian|awa_Deva Awadhi|ayr_Latn Aymara, Central
azb_Arab Azerbaijani, South|azj_Latn Azerbaijani, North|bak_Cyrl Bashkir|bam_Latn Bambara|ban_Latn Balinese
bel_Cyrl Belarusian|bem_Latn Bemba|ben_Beng Bengali|bho_Deva Bhojpuri|bjn_Arab Banjar (Arabic script)
bjn_Latn Banjar (Latin script)|bod_Tibt Tibetan|bos_Latn Bosnian|bug_Latn Buginese|bul_Cyrl Bulgarian
cat_Latn Catalan|ceb_Latn Cebuano|ces_Latn Czech|cjk_Latn Chokwe|ckb_Arab Kurdish, Central
crh_Latn Crimean Tatar|cym_Latn Welsh|dan_Latn Danish|deu_Latn German|dik_Latn Dinka, Southwestern
dyu_Latn Dyula|dzo_Tibt Dzongkha|ell_Grek Greek|eng_Latn English|epo_Latn Esperanto|est_Latn Estonian
eus_Latn Basque|ewe_Latn Ewe|fao_Latn Faroese|fij_Latn Fijian|fin_Latn Finnish|fon_Latn Fon|fra_Latn French
fur_Latn Friulian|fuv_Latn Fulfulde, Nigerian|gaz_Latn Oromo, West Central|gla_Latn Scottish Gaelic
gle_Latn Irish|glg_Latn Galician|grn_Latn Guarani|guj_Gujr Gujarati|hat_Latn Haitian Creole|hau_Latn Hausa
heb_Hebr Hebrew|hin_Deva Hindi|hne_Deva Chhattisgarhi|hrv_Latn Croatian|hun_Latn Hungarian|hye_Armn Armenian
ibo_Latn Igbo|ilo_Latn Ilocano|ind_Latn Indonesian|isl_Latn Icelandic|ita_Latn Italian|jav_Latn Javanese
jpn_Jpan Japanese|kab_Latn Kabyle|kac_Latn Jingpho|kam_Latn Kamba|kan_Knda Kannada
kas_Arab Kashmiri (Arabic script)|kas_Deva Kashmiri (Devanagari)|kat_Geor Georgian|kaz_Cyrl Kazakh
kbp_Latn Kabiyè|kea_Latn Kabuverdianu|khk_Cyrl Mongolian, Halh|khm_Khmr Khmer|kik_Latn Kikuyu
kin_Latn Kinyarwanda|kir_Cyrl Kyrgyz|kmb_Latn Kimbundu|kmr_Latn Kurdish, Northern
knc_Arab Kanuri, Central (Arabic script)|knc_Latn Kanuri, Central (Latin script)|kon_Latn Kikongo
kor_Hang Korean|lao_Laoo Lao|lij_Latn Ligurian|lim_Latn Limburgish|lin_Latn Lingala|lit_Latn Lithuanian
lmo_Latn Lombard|ltg_Latn Latgalian|ltz_Latn Luxembourgish|lua_Latn Luba-Kasai|lug_Latn Ganda|luo_Latn Luo
lus_Latn Mizo|lvs_Latn Latvian|mag_Deva Magahi|mai_Deva Maithili|mal_Mlym Malayalam|mar_Deva Marathi
min_Latn Minangkabau|mkd_Cyrl Macedonian|mlt_Latn Maltese|mni_Beng Meitei (Bengali script)|mos_Latn Mossi
mri_Latn Maori|mya_Mymr Burmese|nld_Latn Dutch|nno_Latn Norwegian Nynorsk|nob_Latn Norwegian Bokmål
npi_Deva Nepali|nso_Latn Northern Sotho|nus_Latn Nuer|nya_Latn Nyanja|oci_Latn Occitan|ory_Orya Odia
pag_Latn Pangasinan|pan_Guru Punjabi, Eastern|pap_Latn Papiamento|pbt_Arab Pashto, Southern
pes_Arab Persian, Western|plt_Latn Malagasy, Plateau|pol_Latn Polish|por_Latn Portuguese|prs_Arab Dari
quy_Latn Quechua, Ayacucho|ron_Latn Romanian|run_Latn Rundi|rus_Cyrl Russian|sag_Latn Sango
san_Deva Sanskrit|sat_Beng Santali|scn_Latn Sicilian|shn_Mymr Shan|sin_Sinh Sinhala|slk_Latn Slovak
slv_Latn Slovenian|smo_Latn Samoan|sna_Latn Shona|snd_Arab Sindhi|som_Latn Somali|sot_Latn Southern Sotho
spa_Latn Spanish|srd_Latn Sardinian|srp_Cyrl Serbian|ssw_Latn Swati|sun_Latn Sundanese|swe_Latn Swedish
swh_Latn Swahili|szl_Latn Silesian|tam_Taml Tamil|taq_Latn Tamasheq (Latin script)
taq_Tfng Tamasheq (Tifinagh)|tat_Cyrl Tatar|tel_Telu Telugu|tgk_Cyrl Tajik|tgl_Latn Tagalog|tha_Thai Thai
tir_Ethi Tigrinya|tpi_Latn Tok Pisin|tsn_Latn Tswana|tso_Latn Tsonga|tuk_Latn Turkmen|tum_Latn Tumbuka
tur_Latn Turkish|twi_Latn Twi|tzm_Tfng Central Atlas Tamazight|uig_Arab Uyghur|ukr_Cyrl Ukrainian
umb_Latn Umbundu|urd_Arab Urdu|uzn_Latn Uzbek, Northern|vec_Latn Venetian|vie_Latn Vietnamese|war_Latn Waray
wol_Latn Wolof|xho_Latn Xhosa|ydd_Hebr Yiddish, Eastern|yor_Latn Yoruba|yue_Hant Chinese, Cantonese
zho_Hans Chinese (simplified)|zho_Hant Chinese (traditional)|zsm_Latn Malay|zul_Latn Zulu
"""
_OWN = """
als_Latn shqip|amh_Ethi አማርኛ|arb_Arab العربية|ast_Latn asturianu|bel_Cyrl беларуская
ben_Beng বাংলা|bod_Tibt བོད་སྐད|bos_Latn bosanski|bul_Cyrl български|cat_Latn català
ces_Latn čeština|cym_Latn Cymraeg|dan_Latn dansk|deu_Latn Deutsch|ell_Grek ελληνικά
est_Latn eesti|eus_Latn euskara|fao_Latn føroyskt|fin_Latn suomi|fra_Latn français
fur_Latn furlan|gla_Latn Gàidhlig|gle_Latn Gaeilge|glg_Latn galego|grn_Latn avañe'ẽ
guj_Gujr ગુજરાતી|hat_Latn kreyòl ayisyen|heb_Hebr עברית|hin_Deva हिन्दी|hrv_Latn hrvatski
hun_Latn magyar|hye_Armn հայերեն|ind_Latn bahasa Indonesia|isl_Latn íslenska
ita_Latn italiano|jav_Latn basa Jawa|jpn_Jpan 日本語|kab_Latn taqbaylit|kan_Knda ಕನ್ನಡ
kat_Geor ქართული|kaz_Cyrl қазақша|khk_Cyrl монгол|khm_Khmr ខ្មែរ|kin_Latn ikinyarwanda
kir_Cyrl кыргызча|kmr_Latn kurmancî|kor_Hang 한국어|lao_Laoo ລາວ|lit_Latn lietuvių
ltz_Latn Lëtzebuergesch|lvs_Latn latviešu|mal_Mlym മലയാളം|mar_Deva मराठी|mkd_Cyrl македонски
mlt_Latn Malti|mri_Latn te reo Māori|mya_Mymr မြန်မာ|nld_Latn Nederlands|nno_Latn nynorsk
nob_Latn bokmål|npi_Deva नेपाली|oci_Latn occitan|ory_Orya ଓଡ଼ିଆ|pan_Guru ਪੰਜਾਬੀ
pbt_Arab پښتو|pes_Arab فارسی|pol_Latn polski|por_Latn português|prs_Arab دری
quy_Latn runasimi|ron_Latn română|rus_Cyrl русский|san_Deva संस्कृतम्|scn_Latn sicilianu
sin_Sinh සිංහල|slk_Latn slovenčina|slv_Latn slovenščina|som_Latn soomaali|spa_Latn español
srd_Latn sardu|srp_Cyrl српски|swe_Latn svenska|swh_Latn Kiswahili|tam_Taml தமிழ்
tat_Cyrl татарча|tel_Telu తెలుగు|tgk_Cyrl тоҷикӣ|tha_Thai ไทย|tir_Ethi ትግርኛ
tuk_Latn türkmençe|tur_Latn Türkçe|uig_Arab ئۇيغۇرچە|ukr_Cyrl українська|urd_Arab اردو
uzn_Latn oʻzbekcha|vec_Latn vèneto|vie_Latn Tiếng Việt|xho_Latn isiXhosa|ydd_Hebr ייִדיש
yor_Latn Yorùbá|yue_Hant 粵語|zho_Hans 简体中文|zho_Hant 繁體中文|zsm_Latn bahasa Melayu
zul_Latn isiZulu
"""


def _read(table: str) -> dict[str, str]:
    pairs = table.strip().replace("\n", "|").split("|")
    return {code: name for code, _, name in (pair.partition(" ") for pair in pairs)}


ENGLISH_NAMES = _read(_ENGLISH)
"""English names of all 202 languages."""
OWN_NAMES = _read(_OWN)
"""Names of the more widely written ones in themselves."""


def shown_language(code: str) -> str:
    """Return what a list of languages shows for a code, in which each of its names can be found.

    >>> shown_language("deu_Latn")
    'German · Deutsch · deu_Latn'
    """
    names = (ENGLISH_NAMES.get(code), OWN_NAMES.get(code), code)
    return " · ".join(name for name in names if name)


def by_name(codes: tuple[str, ...] = SONAR_LANGUAGES) -> list[tuple[str, str]]:
    """Return (what is shown, code) of some languages, by their English names."""
    return sorted((shown_language(code), code) for code in codes)


def find_language(written: str) -> str:
    """Return the code that a person means by an English name, a name in the language, or any code.

    Raises:
        ValueError: no language is meant; the message lists the nearest ones.
    """
    wanted = written.strip().casefold()
    for names in (ENGLISH_NAMES, OWN_NAMES):
        for code, name in names.items():
            if name.casefold() == wanted:
                return code
    return resolve(written)
