"""The parts of :mod:`gcseg.analysis.check_dataset`.

``sources`` lists the files of a config, ``facts`` looks at one file, ``pool`` does so in several processes, ``judge``
says what is wrong, ``labels`` what the values of the labels mean, ``report`` puts it into words.
"""
