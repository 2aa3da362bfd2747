//! Templates: what is known is done as Go and confd do it, all else is an error with its line.

use std::collections::BTreeMap;

use lockkeeper::core::template::{Keys, Template, Value};

const KEYS: &[(&str, &str)] = &[
    ("/address/a", "192.0.2.1"),
    ("/address/b", "192.0.2.2"),
    ("/empty", ""),
    ("/list", "x,y,z"),
    ("/service/a", "in-service"),
    ("/service/b", "draining"),
    ("/tree/one/leaf", "1"),
    ("/tree/two", "2"),
];

fn keys() -> Keys {
    KEYS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn render(template: &str) -> Result<String, String> {
    let made = Template::parse(template).and_then(|t| t.render(&Value::Nothing, &keys()));
    made.map_err(|error| error.to_string())
}

/// Most were rendered by Go's text/template and confd's functions, too, and came out like this.
const AS_GO_DOES: &[(&str, &str)] = &[
    ("plain { text }", "plain { text }"),
    ("a {{/* nothing */}} b", "a  b"),
    ("a \n {{- /* nothing */ -}} \n b", "ab"),
    ("a \n {{- \"x\" -}} \n b", "axb"),
    ("{{\"x\"}}\n{{`\\n`}}{{\"\\n\\\"\\\\\\t\"}}", "x\n\\n\n\"\\\t"),
    ("{{1}} {{-3}} {{true}} {{false}}", "1 -3 true false"),
    ("{{\"}}\"}}", "}}"),
    ("{{getv \"/address/a\"}}", "192.0.2.1"),
    ("{{getv \"/no\" \"none\"}}{{getv \"/empty\" \"none\"}}", "none"),
    ("{{exists \"/empty\"}} {{exists \"/no\"}}", "true false"),
    ("{{(get \"/list\").Key}}={{(get \"/list\").Value}}", "/list=x,y,z"),
    (
        "{{range gets \"/service/*\"}}{{.Key}}={{.Value}} {{end}}",
        "/service/a=in-service /service/b=draining ",
    ),
    ("{{range getvs \"/service/*\"}}{{.}} {{end}}", "draining in-service "),
    ("{{range $i, $kv := gets \"/address/*\"}}{{$i}}:{{base $kv.Key}} {{end}}", "0:a 1:b "),
    ("{{range gets \"/no/*\"}}x{{else}}none{{end}}", "none"),
    ("{{range ls \"/tree\"}}{{.}} {{end}}/{{range lsdir \"/tree\"}}{{.}} {{end}}", "one two /one "),
    ("{{if exists \"/no\"}}1{{else if exists \"/list\"}}2{{else}}3{{end}}", "2"),
    ("{{if \"\"}}1{{else}}2{{end}}{{if 0}}1{{else}}2{{end}}{{if not true}}1{{end}}", "22"),
    ("{{with getv \"/list\"}}<{{.}}>{{end}}{{with \"\"}}x{{else}}none{{end}}", "<x,y,z>none"),
    ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ("{{$x := 1}}{{if true}}{{$x = 2}}{{$x}}{{end}}{{$x}}", "22"),
    ("{{\"/a/b\" | base | printf \"%s-%s\" \"x\"}}", "x-b"),
    (
        "{{printf \"%5s|%-5s|%03d|%q|%v|%t|%%\" \"a\" \"b\" 7 \"c\" 8 true}}",
        "    a|b    |007|\"c\"|8|true|%",
    ),
    ("{{print \"a\" 1 2 \"b\"}}", "a1 2b"),
    (
        "{{base \"/a/b/\"}} {{base \"/\"}} {{base \"\"}} {{dir \"/a/b\"}} {{dir \"/a\"}} {{dir \"a\"}}",
        "b / . /a / .",
    ),
    ("{{range split (getv \"/list\") \",\"}}<{{.}}>{{end}}", "<x><y><z>"),
    (
        "{{join (split \"a-b\" \"-\") \"+\"}} {{len (split \"a-b\" \"-\")}} {{len \"abc\"}}",
        "a+b 2 3",
    ),
    ("{{split \"a-b\" \"-\"}} {{index (split \"a-b\" \"-\") 1}}", "[a b] b"),
    ("{{toUpper \"a\"}}{{toLower \"B\"}} {{contains \"web-1\" \"web\"}}", "Ab true"),
    ("{{replace \"a.b.c\" \".\" \"-\" -1}} {{replace \"a.b.c\" \".\" \"-\" 1}}", "a-b-c a-b.c"),
    (
        "{{eq 1 1}} {{eq \"a\" \"b\" \"a\"}} {{ne 1 2}} {{lt 1 2}} {{ge \"a\" \"b\"}}",
        "true true true true false",
    ),
    ("{{and true \"\" 1}}|{{or \"\" \"x\" \"y\"}}|{{and 1 2}}|{{or 0 \"\"}}", "|x|2|"),
];

#[test]
fn what_is_known_is_done_as_go_does_it() {
    for (template, expected) in AS_GO_DOES {
        assert_eq!(render(template).as_deref(), Ok(*expected), "{template}");
    }
}

#[test]
fn what_is_not_known_or_not_there_is_an_error_with_its_line() {
    let errors = [
        ("x\n{{ getv \"/no\" }}", "line 2: getv: there is no key /no"),
        (
            "{{range gets \"/a/[bc]\"}}{{end}}",
            "line 1: gets: pattern \"/a/[bc]\": only * and ? are known here",
        ),
        ("\n\n{{json \"{}\"}}", "line 3: \"json\" is not known here"),
        ("{{template \"x\"}}", "line 1: \"template\" is not known here"),
        ("{{if true}}", "line 1: there is no end to this"),
        ("{{end}}", "line 1: end without if, with or range"),
        ("{{else}}", "line 1: else without if, with or range"),
        ("{{if true}}{{else}}{{else}}{{end}}", "line 1: two times else"),
        ("{{with 1}}{{else if 2}}{{end}}", "line 1: only \"else\" and \"else if\" are known here"),
        ("{{", "line 1: {{ without }}"),
        ("{{}}", "line 1: nothing between {{ and }}"),
        ("{{\"a}}", "line 1: {{ without }}"),
        ("{{\"\\x\"}}", "line 1: {{ without }}"),
        ("{{/* x }}", "line 1: a comment has no end"),
        ("{{/* x */ y}}", "line 1: a comment does not end with */}}"),
        ("{{.Key}}", "line 1: nothing has no field .Key"),
        (
            "{{range gets \"/service/*\"}}{{.Name}}{{end}}",
            "line 1: a key with its value has no field .Name",
        ),
        ("{{$x}}", "line 1: there is no variable $x"),
        ("{{$x = 1}}", "line 1: there is no variable $x"),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", "line 1: there is no variable $x"),
        ("{{range \"abc\"}}{{end}}", "line 1: range needs a list, and this is a text"),
        ("{{\"a\" \"b\"}}", "line 1: arguments are given to what is no function"),
        ("{{1 | 2}}", "line 1: arguments are given to what is no function"),
        ("{{base}}", "line 1: base is given 0 arguments"),
        ("{{base 1}}", "line 1: base: needs a text, and this is a number"),
        ("{{eq 1 \"1\"}}", "line 1: eq: a number and a text are not compared"),
        ("{{index (split \"a\" \"-\") 1}}", "line 1: index: 1 of 1 is not there"),
        ("{{printf \"%x\" 1}}", "line 1: printf: %x is not known here"),
        ("{{printf \"%s\" 1}}", "line 1: printf: %s does not go with a number"),
        ("{{printf \"%s\"}}", "line 1: printf: nothing is given for %s"),
        ("{{printf \"\" 1}}", "line 1: printf: more is given than the format names"),
        ("{{(base \"a\"}}", "line 1: \"(\" without \")\""),
        ("{{base \"a\")}}", "line 1: \")\" without \"(\""),
        ("{{| base}}", "line 1: \"|\" is not known in this place"),
        ("{{\"a\" | }}", "line 1: a value is missing"),
        ("{{1.5}}", "line 1: 1.5 is no whole number"),
        ("{{a ; b}}", "line 1: ';' is not known here"),
        ("{{$a, $b := 1}}", "line 1: two variables are for range only"),
        ("{{if $a, $b := 1}}{{end}}", "line 1: these variables are not known here"),
    ];
    for (template, expected) in errors {
        assert_eq!(render(template), Err(expected.to_owned()), "{template}");
    }
}

#[test]
fn a_check_command_is_told_the_file() {
    let src = BTreeMap::from([("src".to_owned(), "/etc/x/.new".to_owned())]);
    let made = |text: &str| {
        let template = Template::parse(text).unwrap();
        template.render(&Value::Map(src.clone()), &Keys::default())
    };
    assert_eq!(made("nginx -t -c {{.src}}").unwrap(), "nginx -t -c /etc/x/.new");
    assert_eq!(made("x {{ .src }} {{$.src}}").unwrap(), "x /etc/x/.new /etc/x/.new");
    assert!(made("x {{.dest}}").is_err());
}

/// No text has the interpreter panic, or go on for ever.
#[test]
fn odd_templates_are_refused_quietly() {
    let whole = AS_GO_DOES.iter().map(|(template, _)| *template).collect::<Vec<_>>().join("\n");
    let letters: Vec<(usize, char)> = whole.char_indices().collect();
    for (at, letter) in &letters {
        let _ = render(&whole[..*at]);
        let _ = render(&whole[*at..]);
        let _ = render(&format!("{}{}", &whole[..*at], &whole[at + letter.len_utf8()..]));
    }
}
