"""What other inference servers were asked and answered, as bytes: to the entries that our own requests become.

There is no metadata to go by, and none is needed: each exchange names its tensors, their types and shapes. (KServe's and MLServer's Python
servers answer `GET /v2/models/M` with empty lists unless somebody filled them in.) What a server has answered with 200 is taken as right:
nothing here refuses what a stricter reader would, as long as features, scores and classes can be told.

`identity` finds an exchange's id without reading all of it, `bodies` reads bytes to named tensors, `arrays` makes columns of them,
`reading` puts them together. All but `identity` run in the tap's drain thread.
"""
