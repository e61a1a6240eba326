"""Writing tables as R's packages hold them: tibbles with dates and times, in .rda and .rds."""

import numpy as np
import pandas as pd
import rdata
from rdata.conversion.to_r import DEFAULT_CLASS_MAP, build_r_object
from rdata.parser import RObjectType


def write_r(path, table):
    """A tibble under the name of the file. Columns get R's classes by their names."""
    constructors = dict(DEFAULT_CLASS_MAP) | {pd.DataFrame: _tibble, _Classed: _classed}
    if path.suffix == ".rda":
        rdata.write_rda(path, {path.stem: table}, constructor_dict=constructors)
    else:
        rdata.write_rds(path, table, constructor_dict=constructors)


class _Classed:
    """Numbers that have a class in R: dates, times, factors."""

    def __init__(self, numbers, **attributes):
        self.numbers, self.attributes = numbers, attributes


def _classed(column, converter):
    kind = RObjectType.REAL if column.numbers.dtype.kind == "f" else RObjectType.INT
    attributes = converter.convert_to_r_attributes(column.attributes)
    return build_r_object(kind, value=column.numbers, is_object=True, attributes=attributes)


def _factor(column):
    numbers = np.where(column.codes < 0, rdata.missing.R_INT_NA, column.codes + 1).astype("int32")
    levels = column.categories.to_numpy(object)
    kind = np.array(["ordered", "factor"] if column.ordered else ["factor"])
    return _Classed(numbers, levels=levels, **{"class": kind})


def _tibble(table, converter):
    values = []
    for name, column in table.items():
        if name.endswith("_timestamp"):
            zoned = {"class": np.array(["POSIXct", "POSIXt"]), "tzone": "America/New_York"}
            column = _Classed(column.to_numpy("float64"), **zoned)
        elif name.endswith("_date"):
            column = _Classed(column.to_numpy("float64"), **{"class": "Date"})
        elif isinstance(column.dtype, pd.CategoricalDtype):
            column = _factor(column.array)
        elif column.dtype.kind in "if":
            column = column.to_numpy()
        else:
            text = column.to_numpy(object)
            column = np.array([None if pd.isna(each) else each for each in text], object)
        values.append(converter.convert_to_r_object(column))
    attributes = converter.convert_to_r_attributes(
        {
            "names": np.array(list(table)),
            "class": np.array(["tbl_df", "tbl", "data.frame"]),
            "row.names": np.ma.array([rdata.missing.R_INT_NA, -len(table)], mask=[True, False]),
        }
    )
    return build_r_object(RObjectType.VEC, value=values, is_object=True, attributes=attributes)
