"""Reports (type data_record) of the forms pregnancy, delivery, assessment and immunization.

Field names follow the CHT's default forms. As in real deployments most values are texts, whatever
they mean. A delivery belongs to the pregnancy of the same woman.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from cht_sync.generator.hierarchy import REGISTRATION_DAYS, Person, Spot, contact_of, lineage, member, person
from cht_sync.generator.locations import location_fields
from cht_sync.generator.origin import Document, Origin

PREGNANCY_DAYS = 280
REPORTING_DAYS = 365
"""Reports that follow no pregnancy spread over so many days after the registrations."""
DANGER_SIGNS = (
    "fever",
    "vaginal_bleeding",
    "severe_headache",
    "swelling",
    "blurred_vision",
    "breathlessness",
)
VACCINES = (
    "bcg",
    "polio_0",
    "polio_1",
    "polio_2",
    "penta_1",
    "penta_2",
    "pneumococcal_1",
    "rotavirus_1",
    "mmr_1",
)
DIAGNOSES = {"malaria": "act", "pneumonia": "amoxicillin", "diarrhea": "ors_zinc", "none": "none"}


@dataclass(frozen=True)
class Visit:
    """One report about to be written: who is visited, and a random source of its own.

    Forms draw all their chances from `source`; `origin` and `patient_index` lead to what several
    reports of one patient share.
    """

    origin: Origin
    patient_index: int
    patient: Person
    source: Random

    def yes_or_no(self, chance: float) -> str:
        return "yes" if self.source.random() < chance else "no"


Form = Callable[[Visit], tuple[float, Document]]
"""Makes a report's own part: the day of the report after the base date, and the fields of the form."""


def _last_menstruation(visit: Visit) -> int:
    """Return the day that a woman's pregnancy is counted from, the same in each of her reports."""
    return visit.origin.random("pregnancy", visit.patient_index).randrange(-60, 120)


def pregnancy(visit: Visit) -> tuple[float, Document]:
    lmp = _last_menstruation(visit)
    reported = max(REGISTRATION_DAYS, lmp + visit.source.randrange(42, 140)) + visit.source.random()
    signs = visit.source.sample(DANGER_SIGNS, visit.source.choice((0, 0, 0, 1, 2)))
    return reported, {
        "lmp_method": "approx",
        "lmp_date_8601": visit.origin.day(lmp).isoformat(),
        "edd_8601": visit.origin.day(lmp + PREGNANCY_DAYS).isoformat(),
        "days_since_lmp": str(int(reported) - lmp),
        "weeks_since_lmp": f"{(int(reported) - lmp) / 7:.2f}",
        "risk_factors": visit.source.choice(("", "first_pregnancy", "previous_miscarriage")),
        "danger_signs": " ".join(signs),
        "t_danger_signs_referral_follow_up": "yes" if signs else "no",
        "group_review": {
            "r_anc_visits": visit.source.randrange(5),
            "r_hiv_tested": visit.yes_or_no(0.8),
            "r_llin_use": visit.yes_or_no(0.7),
            "r_iron_folate_daily": visit.yes_or_no(0.6),
        },
    }


def delivery(visit: Visit) -> tuple[float, Document]:
    delivered = _last_menstruation(visit) + PREGNANCY_DAYS + visit.source.randrange(-14, 8)
    alive = visit.source.random() < 0.97
    return delivered + 3 * visit.source.random(), {
        "birth_date": visit.origin.day(delivered).isoformat(),
        "pregnancy_outcome": "healthy" if alive else "still_birth",
        "delivery_code": visit.source.choice(("f", "s", "ns")),
        "label_delivery_code": "",
        "group_delivery_summary": {
            "g_delivery_place": visit.source.choice(("health_facility", "health_facility", "home")),
            "g_delivery_mode": visit.source.choice(("vaginal", "vaginal", "cesarean")),
            "g_mother_alive": "yes",
            "g_babies_delivered": 1,
            "g_babies_alive": int(alive),
        },
        "baby": {
            "sex": visit.source.choice(("female", "male")),
            "birth_weight_grams": visit.source.randrange(1900, 4300),
            "breastfed_within_1_hour": visit.yes_or_no(0.75 if alive else 0),
        },
        "safe_postnatal_practices": {
            "vitamin_k": visit.yes_or_no(0.6),
            "cord_chlorhexidine": visit.yes_or_no(0.7),
        },
    }


def assessment(visit: Visit) -> tuple[float, Document]:
    diagnosis = visit.source.choice(tuple(DIAGNOSES))
    fever = diagnosis == "malaria" or visit.source.random() < 0.2
    return _any_day(visit), {
        "group_fever": {
            "fever": "yes" if fever else "no",
            "temperature": f"{visit.source.uniform(*((37.9, 40.2) if fever else (36.2, 37.4))):.1f}",
            "fever_duration_days": visit.source.randrange(1, 8) if fever else 0,
            "rdt_result": ("positive" if diagnosis == "malaria" else "negative") if fever else "",
        },
        "group_cough": {
            "cough": visit.yes_or_no(0.4),
            "breaths_per_minute": visit.source.randrange(22, 62),
            "fast_breathing": "yes" if diagnosis == "pneumonia" else "no",
        },
        "group_diarrhea": {
            "diarrhea": "yes" if diagnosis == "diarrhea" else "no",
            "blood_in_stool": visit.yes_or_no(0.03),
        },
        "group_nutrition": {
            "muac_cm": f"{visit.source.uniform(11.0, 16.5):.1f}",
            "edema": visit.yes_or_no(0.02),
        },
        "diagnosis": diagnosis,
        "treatment": DIAGNOSES[diagnosis],
        "referral_follow_up": visit.yes_or_no(0.15),
    }


def immunization(visit: Visit) -> tuple[float, Document]:
    received = visit.source.sample(VACCINES, visit.source.randrange(1, 4))
    return _any_day(visit), {
        "visit_confirmed": "yes",
        "vaccines_received": {f"received_{name}": "yes" if name in received else "no" for name in VACCINES},
        "group_select_vaccines": {"g_vaccines": " ".join(sorted(received))},
        "vitamin_a": visit.yes_or_no(0.3),
        "adverse_events": visit.yes_or_no(0.02),
        "next_visit_date": "",
    }


def _any_day(visit: Visit) -> float:
    return REGISTRATION_DAYS + visit.source.random() * REPORTING_DAYS


FORMS: dict[str, Form] = {
    "pregnancy": pregnancy,
    "delivery": delivery,
    "assessment": assessment,
    "immunization": immunization,
}

YEAR_OF_A_HOUSEHOLD = (
    ("pregnancy", 0), ("assessment", 2), ("immunization", 3), ("delivery", 0),
    ("assessment", 3), ("immunization", 2), ("pregnancy", 1), ("assessment", 1),
    ("immunization", 3), ("delivery", 1), ("assessment", 2), ("immunization", 3),
)  # fmt: skip
"""The forms of a household's reports, and which of its persons each is about."""


def report_document(origin: Origin, spot: Spot) -> Document:
    """Return a document of type data_record, as the CHT's web application stores a form."""
    form, number = YEAR_OF_A_HOUSEHOLD[spot.number]
    household, *places_above = spot.parents
    health_center = places_above[0]
    worker_index = contact_of(health_center)
    worker = person(origin, worker_index)
    patient_index = member(household, number)
    patient = person(origin, patient_index)
    patient_uuid = origin.document_id(patient_index)
    source = origin.random("report", spot.index)
    day, fields = FORMS[form](Visit(origin, patient_index, patient, source))
    age = origin.day(int(day)) - patient.born
    return {
        "_id": origin.document_id(spot.index),
        "type": "data_record",
        "form": form,
        "content_type": "xml",
        "reported_date": origin.moment(day),
        "from": worker.phone,
        "contact": lineage(origin, (worker_index, *places_above)),
        "patient_id": patient.patient_id,
        "fields": {
            "inputs": {"source": "contact", "source_id": "", "contact": {"_id": patient_uuid}},
            "patient_id": patient.patient_id,
            "patient_uuid": patient_uuid,
            "patient_name": patient.name,
            "patient_sex": patient.sex,
            "patient_age_in_years": str(max(0, age // timedelta(days=365))),
            "chw_name": worker.name,
            **fields,
            "group_note": {"default_chw_sms": "default", "is_sms_edited": "no", "g_chw_sms": ""},
            "meta": {"instanceID": f"uuid:{uuid.UUID(int=source.getrandbits(128), version=4)}"},
        },
        **location_fields(origin, spot, origin.moment(day)),
        "hidden_fields": [],
    }
