"""Calls a server by the official Python package `openai`, unchanged: chat, responses, images.

Prints a line for each call that did what it must, and ends with 1 at the first that did not.

  pip install openai
  python tests/reference/openai_client.py http://127.0.0.1:8080/v1 [KEY]
"""

import base64
import sys
import traceback

import openai


def check(what, holds):
    """Fails unless something holds."""
    if not holds:
        raise AssertionError(what)


def png(data):
    """Returns the bytes of a PNG file in base64."""
    file = base64.b64decode(data, validate=True)
    check("the image is not a PNG file", file.startswith(b"\x89PNG"))
    return file


def refused(call, status, param):
    """Fails unless a call is refused with this status and field."""
    try:
        call()
    except openai.APIStatusError as why:
        found = (why.status_code, why.param)
        check(f"refused with {found}, wanted {(status, param)}: {why}", found == (status, param))
        check("the error has no request id", why.request_id)
    else:
        raise AssertionError(f"`{param}` was not refused")


def models(client, model):
    listed = [found.id for found in client.models.list()]
    check(f"{model} is not one of {listed}", model in listed)
    check("the model has another name", client.models.retrieve(model).id == model)


def chat(client, model):
    ask = {"model": model, "messages": [{"role": "user", "content": "draw red K on white"}], "seed": 1}
    whole = client.chat.completions.create(**ask)
    message = whole.choices[0].message
    check("the role is wrong", message.role == "assistant")
    check("the content is no text", isinstance(message.content, str))
    check("the usage does not add up", whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens)

    text, images, usage, reason = "", [], None, None
    for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            images += getattr(choice.delta, "images", None) or []
            reason = choice.finish_reason or reason
    check(f"the stream says {text!r}, the whole {message.content!r}", text == message.content)
    check("the images differ", images == (getattr(message, "images", None) or []))
    check("the usage differs", usage.total_tokens == whole.usage.total_tokens)
    check("the reason differs", reason == whole.choices[0].finish_reason)

    with client.chat.completions.stream(**ask) as stream:
        try:
            final = stream.get_final_completion()
        except openai.LengthFinishReasonError as ended:  # the client's word for an answer that a limit cut
            check("only a limit cuts an answer", reason == "length")
            final = ended.completion
    check("the helper says something else", final.choices[0].message.content == message.content)


def chat_with_image(client, model, file):
    uri = "data:image/png;base64," + base64.b64encode(file).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": uri, "detail": "low"}},
        {"type": "text", "text": "what is this?"},
    ]
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": parts}], modalities=["text"], max_tokens=8
    )
    details = answer.usage.prompt_tokens_details
    check("the image was not counted", details.image_tokens > 0)
    back = [
        {"role": "user", "content": parts},
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "user", "content": "and now?"},
    ]
    client.chat.completions.create(model=model, messages=back, max_tokens=8)


def responses(client, model):
    first = client.responses.create(model=model, input="draw red K on white", max_output_tokens=16)
    check("the status is wrong", first.status in ("completed", "incomplete"))
    check("the text is no text", isinstance(first.output_text, str))
    check("the response is not kept", client.responses.retrieve(first.id).id == first.id)
    after = client.responses.create(
        model=model, input="make it blue", previous_response_id=first.id, max_output_tokens=16
    )
    check("the conversation did not grow", after.usage.input_tokens > first.usage.input_tokens)
    client.responses.delete(first.id)
    refused(lambda: client.responses.retrieve(first.id), 404, "id")


def responses_stream(client, model):
    kinds, text = [], ""
    for event in client.responses.create(model=model, input="a", max_output_tokens=16, stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    check(f"the events are {kinds}", kinds[:2] == ["response.created", "response.in_progress"])
    check("the text differs", event.response.output_text == text)


def responses_image(client, model):
    tool = {"type": "image_generation", "partial_images": 2}
    partial, final = [], None
    for event in client.responses.create(
        model=model,
        input="red K on white",
        tools=[tool],
        tool_choice={"type": "image_generation"},
        stream=True,
        extra_body={"seed": 3, "steps": 4},
    ):
        if event.type == "response.image_generation_call.partial_image":
            check("a partial image is out of order", event.partial_image_index == len(partial))
            partial.append(png(event.partial_image_b64))
        if event.type == "response.completed":
            final = event.response
    check(f"{len(partial)} partial images came, wanted 2", len(partial) == 2)
    calls = [item for item in final.output if item.type == "image_generation_call"]
    check("there is not one image", len(calls) == 1)
    return png(calls[0].result)


def images(client, model):
    ask = {"model": model, "prompt": "red K on white", "extra_body": {"seed": 3, "steps": 4}}
    drawn = client.images.generate(**ask, n=2)
    check("there are not two images", len(drawn.data) == 2)
    file = png(drawn.data[0].b64_json)
    again = client.images.generate(**ask)
    check("the same seed gives other bytes", again.data[0].b64_json == drawn.data[0].b64_json)
    kinds = [event.type for event in client.images.generate(**ask, stream=True, partial_images=2)]
    wanted = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    check(f"the events are {kinds}", kinds == wanted)
    return file


def edits(client, model, file):
    ask = {"model": model, "prompt": "red K on blue", "extra_body": {"steps": 4, "strength": 0.5}}
    edited = client.images.edit(image=("k.png", file, "image/png"), **ask)
    png(edited.data[0].b64_json)
    stream = client.images.edit(image=("k.png", file, "image/png"), stream=True, partial_images=1, **ask)
    kinds = [event.type for event in stream]
    check(f"the events are {kinds}", kinds == ["image_edit.partial_image", "image_edit.completed"])


def errors(client, model):
    say = [{"role": "user", "content": "a"}]
    chat = client.chat.completions
    refused(lambda: chat.create(model="none", messages=say), 404, "model")
    refused(lambda: chat.create(model=model, messages=[]), 400, "messages")
    refused(lambda: chat.create(model=model, messages=say, temperature=9), 400, "temperature")
    refused(lambda: chat.create(model=model, messages=say, logprobs=True), 400, "logprobs")
    far = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    param = "messages[0].content[0].image_url.url"
    refused(lambda: chat.create(model=model, messages=[{"role": "user", "content": far}]), 400, param)


def main():
    if len(sys.argv) < 2:
        print("usage: openai_client.py BASE_URL [KEY]", file=sys.stderr)
        return 2
    key = sys.argv[2] if len(sys.argv) > 2 else "none"
    client = openai.OpenAI(base_url=sys.argv[1], api_key=key, max_retries=0, timeout=120)
    model = next(iter(client.models.list())).id
    made = {}
    steps = [
        ("models", lambda: models(client, model)),
        ("chat, whole and as a stream", lambda: chat(client, model)),
        ("responses", lambda: responses(client, model)),
        ("responses as a stream", lambda: responses_stream(client, model)),
        ("responses with partial images", lambda: made.update(file=responses_image(client, model))),
        ("images, whole and as a stream", lambda: made.update(file=images(client, model))),
        ("edits, whole and as a stream", lambda: edits(client, model, made["file"])),
        ("chat with an image", lambda: chat_with_image(client, model, made["file"])),
        ("errors", lambda: errors(client, model)),
    ]
    for name, step in steps:
        try:
            step()
        except Exception:  # whatever it is, it is not what the client expects
            traceback.print_exc()
            print(f"WRONG {name}")
            return 1
        print(f"ok {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
