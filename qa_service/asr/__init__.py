"""The recogniser as its client sees it: sockets and time around :mod:`qa_service.protocol.client`.

A frame's way ends in :class:`~qa_service.asr.session.RecogniserSession`, and an utterance's begins there.
"""
