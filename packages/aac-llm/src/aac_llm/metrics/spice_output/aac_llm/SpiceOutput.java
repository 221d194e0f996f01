package aac_llm;

import java.io.Reader;
import java.util.Collections;
import java.util.List;
import javax.script.AbstractScriptEngine;
import javax.script.Bindings;
import javax.script.ScriptContext;
import javax.script.ScriptEngine;
import javax.script.ScriptEngineFactory;
import javax.script.SimpleBindings;

/**
 * Lets SPICE 1.0 write its scores on Java 15 and later, which have no JavaScript engine (Nashorn) any more.
 *
 * SPICE asks the script engine "JavaScript" to indent its JSON: it binds the text to "jsonString", evaluates
 * one statement and reads "result". This engine gives the text back as it is.
 * Compiled with: javac --release 8 -d spice_output spice_output/aac_llm/SpiceOutput.java
 */
public final class SpiceOutput extends AbstractScriptEngine implements ScriptEngineFactory {
    /** Writes its argument by the same calls as SPICE: a check that the engine is found. */
    public static void main(String[] arguments) throws Exception {
        ScriptEngine engine = new javax.script.ScriptEngineManager().getEngineByName("JavaScript");
        engine.put("jsonString", arguments[0]);
        engine.eval("result = JSON.stringify(JSON.parse(jsonString), null, 2)");
        System.out.println(engine.get("result"));
    }

    @Override
    public Object eval(String script, ScriptContext context) {
        Bindings bindings = context.getBindings(ScriptContext.ENGINE_SCOPE);
        Object text = bindings.get("jsonString");
        bindings.put("result", text);
        return text;
    }

    @Override
    public Object eval(Reader reader, ScriptContext context) {
        return eval("", context);
    }

    @Override
    public Bindings createBindings() {
        return new SimpleBindings();
    }

    @Override
    public ScriptEngineFactory getFactory() {
        return this;
    }

    @Override
    public ScriptEngine getScriptEngine() {
        return new SpiceOutput();
    }

    @Override
    public List<String> getNames() {
        return Collections.singletonList("JavaScript");
    }

    @Override
    public String getEngineName() {
        return "aac-llm's output of SPICE";
    }

    @Override
    public String getEngineVersion() {
        return "1";
    }

    @Override
    public List<String> getExtensions() {
        return Collections.emptyList();
    }

    @Override
    public List<String> getMimeTypes() {
        return Collections.emptyList();
    }

    @Override
    public String getLanguageName() {
        return "JSON as it is";
    }

    @Override
    public String getLanguageVersion() {
        return "1";
    }

    @Override
    public Object getParameter(String key) {
        return null;
    }

    @Override
    public String getMethodCallSyntax(String object, String method, String... arguments) {
        throw new UnsupportedOperationException();
    }

    @Override
    public String getOutputStatement(String text) {
        throw new UnsupportedOperationException();
    }

    @Override
    public String getProgram(String... statements) {
        throw new UnsupportedOperationException();
    }
}
